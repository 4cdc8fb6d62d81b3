//! What lint checks: a directory with the sources of an image, or an image.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::image::exports::{CONFIG, CONFIG_TEMPLATE, SERVICE_TEMPLATE, TMPFILES_TEMPLATE};
use crate::image::layout::HOSTFS;
use crate::image::manifest;
use crate::image::tree::{ExportsDirectory, Tree};
use crate::install::installer;
use crate::name::Name;

/// The files that an installation looks for in an image.
pub const FILES: [&str; 6] =
    [CONFIG, CONFIG_TEMPLATE, SERVICE_TEMPLATE, TMPFILES_TEMPLATE, manifest::FILE, HOSTFS];
const DOCKERFILES: [&str; 2] = ["Dockerfile", "Containerfile"];

/// A Dockerfile or a Containerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// Path, as findings name it.
    pub file: String,
    /// Content.
    pub text: String,
}

/// A directory with the sources of an image.
pub struct Sources {
    directory: PathBuf,
    /// Where files for /exports are in the directory: `exports`, or empty for the directory itself.
    below: &'static str,
    dockerfile: Option<Dockerfile>,
}

impl Sources {
    /// Looks for a Dockerfile and files for /exports; it is an error if there is neither.
    pub fn open(directory: &Path) -> Result<Sources> {
        let what = || format!("cannot check {}", directory.display());
        fs::read_dir(directory).context(what)?;
        let has = |below: &str| FILES.iter().any(|file| directory.join(below).join(plain(file)).exists());
        let below = if has("exports") { "exports" } else { "" };
        let mut dockerfile = None;
        for name in DOCKERFILES {
            let path = directory.join(name);
            if dockerfile.is_none() && path.is_file() {
                let content = fs::read(&path).context(what)?;
                let text = String::from_utf8_lossy(&content).into_owned();
                dockerfile = Some(Dockerfile { file: path.display().to_string(), text });
            }
        }
        if dockerfile.is_none() && !has(below) {
            let why = "it contains neither a Dockerfile nor a Containerfile nor a file for /exports";
            return Err(Error::new(why)).context(what);
        }
        Ok(Sources { directory: directory.to_path_buf(), below, dockerfile })
    }

    /// The directory as it was given.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory with the files for /exports.
    pub fn exports(&self) -> PathBuf {
        match self.below {
            "" => self.directory.clone(),
            below => self.directory.join(below),
        }
    }

    /// The Dockerfile, if there is one.
    pub fn dockerfile(&self) -> Option<&Dockerfile> {
        self.dockerfile.as_ref()
    }

    /// Paths below the directory of those [`FILES`] that exist.
    pub fn files(&self) -> Vec<String> {
        let names = FILES.iter().map(|file| plain(file)).filter(|name| self.exports().join(name).exists());
        names.map(|name| Path::new(self.below).join(name).to_string_lossy().into_owned()).collect()
    }
}

/// Returns the name below /exports.
fn plain(file: &str) -> &str {
    file.strip_prefix("exports/").unwrap_or(file)
}

/// What lint checks.
pub enum Target<'a> {
    /// The sources of an image.
    Sources(&'a Sources),
    /// An image, with its files.
    Image(&'a dyn Tree, &'a Image),
}

impl Target<'_> {
    /// The sources; `None` for an image.
    pub fn sources(&self) -> Option<&Sources> {
        match self {
            Target::Sources(source) => Some(source),
            Target::Image(..) => None,
        }
    }

    /// The image; `None` for sources.
    pub fn image(&self) -> Option<&Image> {
        match self {
            Target::Sources(_) => None,
            Target::Image(_, image) => Some(image),
        }
    }

    /// The Dockerfile of sources that have one.
    pub fn dockerfile(&self) -> Option<&Dockerfile> {
        self.sources().and_then(Sources::dockerfile)
    }

    /// The files of the image; of sources, those for /exports.
    pub fn tree(&self) -> Box<dyn Tree + '_> {
        match self {
            Target::Sources(source) => Box::new(ExportsDirectory(source.exports())),
            Target::Image(tree, _) => Box::new(*tree),
        }
    }

    /// Returns how findings name a file of the image.
    pub fn shown(&self, file: &str) -> String {
        match self {
            Target::Sources(source) => source.exports().join(plain(file)).display().to_string(),
            Target::Image(..) => file.to_owned(),
        }
    }

    /// Returns the name that its container gets, or one that it could have.
    pub fn name(&self) -> Result<Name> {
        let name = match self {
            Target::Sources(source) => {
                let directory = source.directory.canonicalize().unwrap_or_default();
                directory.file_name().unwrap_or_default().to_string_lossy().parse()
            }
            Target::Image(_, image) => installer::default_name(image),
        };
        name.or_else(|_| "container".parse())
    }
}
