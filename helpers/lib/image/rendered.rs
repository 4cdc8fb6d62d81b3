//! What the templates of an image became for one deployment, checked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::container::registration::{Notify, UserNotify};
use crate::container::volumes::Volume;
use crate::error::{Context, Result};
use crate::image::Image;
use crate::image::exports::{Place, SERVICE_TEMPLATE, cannot_install};
use crate::image::layout::Layout;
use crate::image::template::{self, Target};
use crate::oci::config::{self, Normalised};
use crate::paths::Root;
use crate::unit::syntax::UnitFile;

/// What templates became.
pub struct Files<'a> {
    /// The unit, if there is one.
    pub unit: Option<String>,
    /// tmpfiles.d(5), if the image has any.
    pub tmpfiles: Option<String>,
    /// The runtime configuration, with where it is from.
    pub config: Option<(&'a str, String)>,
    /// Files for the host.
    pub layout: Layout,
}

/// The rendered files of one deployment, checked.
pub struct Rendered {
    /// The unit, before it is composed with ours; absent where the image is no service.
    pub unit: Option<String>,
    /// tmpfiles.d(5), if there is anything to make.
    pub tmpfiles: Option<String>,
    /// The runtime configuration as written, and as runtimes take it; absent where no payload runs.
    pub config: Option<(String, Normalised)>,
    /// Files for the host.
    pub layout: Layout,
    /// Which of EXEC_START and its kin the unit uses.
    pub placed: Vec<String>,
    /// Names of all variables that were used.
    pub used: BTreeSet<String>,
    /// Who says that the service is ready.
    pub notify: Notify,
    /// Directories that the payload writes to.
    pub volumes: Vec<Volume>,
    /// Whether it runs once, with a root file system that may be written.
    pub run_once: bool,
    for_others: bool,
}

impl Rendered {
    /// Checks all that can be checked without writing it.
    pub fn check(
        image: &Image,
        place: &Place,
        files: Files,
        placed: Vec<String>,
        run_once: bool,
        used: BTreeSet<String>,
    ) -> Result<Rendered> {
        let Files { unit, tmpfiles, config, layout } = files;
        let what = || cannot_install(image);
        let parsed = UnitFile::parse(unit.as_deref().unwrap_or_default())
            .context(|| format!("invalid unit in {SERVICE_TEMPLATE}"))
            .context(what)?;
        let config = config
            .map(|(origin, text)| config::parse(&text, origin, run_once).map(|value| (text, value)))
            .transpose()
            .context(what)?;
        let normal = config.as_ref().map(|(_, config)| config);
        let tmpfiles = match tmpfiles {
            Some(text) => Some(text).filter(|text| !text.trim().is_empty()),
            None => normal.and_then(|config| missing_sources(place.root, config, &layout)),
        };
        let notify = notify_mode(&parsed, normal);
        let set = |key| parsed.last("Service", key).is_some();
        let for_others =
            normal.is_some_and(Normalised::has_user_namespace) || set("User") || set("DynamicUser");
        Ok(Rendered {
            unit,
            tmpfiles,
            config,
            layout,
            placed,
            used,
            notify,
            volumes: Vec::new(),
            run_once,
            for_others,
        })
    }

    /// What the user's choice amounts to for this payload.
    pub fn notify_as(&self, chosen: UserNotify) -> Notify {
        match chosen {
            UserNotify::No => Notify::Created,
            UserNotify::Full => Notify::Socket,
            UserNotify::Ready => readiness(self.config.as_ref().map(|(_, config)| config)),
        }
    }

    /// Of the deployment's directory: files below it may be setuid programs, which are not for users of the host. A
    /// runtime in a user namespace, and a unit's own user, must pass.
    pub fn mode(&self) -> u32 {
        if self.for_others { 0o711 } else { 0o700 }
    }
}

/// Who says that the service is ready: see [`Notify`].
fn notify_mode(unit: &UnitFile, config: Option<&Normalised>) -> Notify {
    if unit.last("Service", "Type") != Some("notify") { Notify::Created } else { readiness(config) }
}

fn readiness(config: Option<&Normalised>) -> Notify {
    if config.is_some_and(|config| config.has_pid_namespace() && !config.has_user_namespace()) {
        Notify::Ready
    } else {
        // What is no process of the user namespace cannot be named by it, and host processes it sees anyway.
        Notify::Socket
    }
}

/// tmpfiles for the bind sources that the host lacks, or may lack after a boot: directories of the payload's user alone.
/// One that is there keeps its mode and owner. What the image itself brings for the host is none of them.
fn missing_sources(root: &Root, config: &Normalised, layout: &Layout) -> Option<String> {
    let (uid, gid) = if config.has_user_namespace() { (0, 0) } else { config.user() };
    let is_wanted = |source: &PathBuf| {
        let there = root.join(source);
        let is_brought = layout.files().iter().any(|file| Path::new(&file.path) == source);
        !is_brought && (!there.exists() || is_volatile(source) && there.is_dir())
    };
    let mounts = config.mounts().filter(|mount| mount.has_bind_type());
    let sources = mounts.filter_map(|mount| mount.bind_source()).map(|source| source.components().collect());
    let missing: BTreeSet<PathBuf> = sources.filter(is_wanted).collect();
    let line = |source: &PathBuf| {
        let source = source.to_string_lossy();
        let mut problems = Vec::new();
        let template = format!("d $P :0700 :{uid} :{gid} - -\n");
        let line = template::render("", &template, Target::Tmpfiles, |_| Some(&source), &mut problems);
        problems.is_empty().then_some(line)
    };
    let lines: String = missing.iter().filter_map(line).collect();
    Some(lines).filter(|lines| !lines.is_empty())
}

/// Whether a directory that is there now may be gone after the next boot.
fn is_volatile(path: &Path) -> bool {
    ["/run", "/var/run", "/tmp"].iter().any(|above| path.starts_with(above) && path != Path::new(above))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::config::Config;
    use serde_json::{Value, json};

    fn normalised(config: Value) -> Normalised {
        Config::new(config).normalised()
    }

    #[test]
    fn missing_bind_sources_become_directories() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc/there")).unwrap();
        std::fs::create_dir_all(dir.path().join("run/there")).unwrap();
        let config = normalised(json!({"process": {"user": {"uid": 7, "gid": 8}}, "mounts": [
            {"type": "bind", "source": "/etc/there", "destination": "/a"},
            {"type": "bind", "source": "/run/there", "destination": "/r"},
            {"type": "bind", "source": "/run", "destination": "/run"},
            {"type": "bind", "source": "/var/lib/x y%", "destination": "/b"},
            {"type": "bind", "source": "/var/lib/x y%", "destination": "/c"},
            {"type": "tmpfs", "source": "/none", "destination": "/d"},
        ]}));
        let lines = missing_sources(&Root::new(dir.path()), &config, &Layout::default());
        assert_eq!(
            lines.as_deref(),
            Some("d /run/there :0700 :7 :8 - -\nd /var/lib/x\" \"y%% :0700 :7 :8 - -\n")
        );
        assert_eq!(missing_sources(&Root::new(dir.path()), &normalised(json!({})), &Layout::default()), None);
    }

    #[test]
    fn who_is_told_of_readiness() {
        let unit = |text: &str| UnitFile::parse(text).unwrap();
        let own = normalised(json!({"linux": {"namespaces": [{"type": "pid"}]}}));
        let mapped = normalised(json!({"linux": {"namespaces": [{"type": "pid"}, {"type": "user"}]}}));
        let notify = unit("[Service]\nType=notify");
        assert_eq!(notify_mode(&notify, Some(&own)), Notify::Ready);
        assert_eq!(notify_mode(&notify, Some(&mapped)), Notify::Socket);
        assert_eq!(notify_mode(&notify, None), Notify::Socket);
        assert_eq!(notify_mode(&unit("[Service]\nType=forking"), Some(&own)), Notify::Created);
    }
}
