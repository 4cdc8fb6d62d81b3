//! One mount of a runtime configuration.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The option of a tmpfs by which runtimes begin it with what the root file system has in its place.
pub const TMPCOPYUP: &str = "tmpcopyup";

/// An element of `mounts`.
#[derive(Clone, Copy, Debug)]
pub struct Mount<'a>(&'a Value);

impl<'a> Mount<'a> {
    /// The mounts of a configuration, in order.
    pub fn all(config: &'a Value) -> impl Iterator<Item = Mount<'a>> + use<'a> {
        config.get("mounts").and_then(Value::as_array).into_iter().flatten().map(Mount)
    }

    /// Wraps the JSON of one mount.
    pub fn new(value: &'a Value) -> Self {
        Mount(value)
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.0.get(key).and_then(Value::as_str)
    }

    /// Mount point in the container, absolute and without trailing slashes.
    pub fn destination(&self) -> Option<PathBuf> {
        self.text("destination").map(|path| Path::new("/").join(path).components().collect())
    }

    /// Absolute path on the host that is bound; `None` unless this is a bind mount with such a source.
    pub fn bind_source(&self) -> Option<&'a Path> {
        self.source().filter(|source| source.is_absolute())
    }

    /// Path that is bound, as it is written; `None` unless this is a bind mount.
    pub fn source(&self) -> Option<&'a Path> {
        if self.is_bind() { self.text("source").map(Path::new) } else { None }
    }

    /// Returns whether runtimes make it a bind mount: they only look at the options, whatever the type says.
    pub fn is_bind(&self) -> bool {
        self.has_bind_type() || self.has_bind_option()
    }

    /// Returns whether the type says that it is a bind mount: only for these did Atomic create missing sources.
    pub fn has_bind_type(&self) -> bool {
        self.text("type").is_some_and(|kind| kind.contains("bind"))
    }

    /// Returns whether an option says that it is a bind mount.
    pub fn has_bind_option(&self) -> bool {
        self.options().any(|option| option == "bind" || option == "rbind")
    }

    /// Returns whether nothing can be written through it: of `ro` and `rw`, the last one counts.
    pub fn is_read_only(&self) -> bool {
        self.options()
            .filter(|option| *option == "ro" || *option == "rw")
            .last()
            .is_some_and(|last| last == "ro")
    }

    /// Type of the file system, as it is written.
    pub fn kind(&self) -> Option<&'a str> {
        self.text("type")
    }

    /// Its options, in order.
    pub fn options(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.0.get("options").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }
}
