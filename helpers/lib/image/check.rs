//! Fourth step from an image to a deployment: everything that was rendered is parsed, so that what would fail later
//! fails here.
//!
//! What the image left out is made here, too: a configuration from the image's own, and tmpfiles from the bind sources
//! that the host lacks.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use crate::container::info::Values;
use crate::container::readiness::{Notify, UserNotify};
use crate::container::volume::Volume;
use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::image::binds;
use crate::image::exports::{CONFIG, CONFIG_TEMPLATE, Exports, SERVICE_TEMPLATE};
use crate::image::generated_config::{self, GeneratedConfig};
use crate::image::installation::Installation;
use crate::image::layout::Layout;
use crate::image::limits;
use crate::image::render::Rendered;
use crate::image::service::{self, Unkept};
use crate::image::tree::Tree;
use crate::image::variables;
use crate::oci::config::{self, Normalised};
use crate::oci::nesting::{self, nested_sources};
use crate::paths::{Root, TreePath, VOLUMES};
use crate::unit::escape::TmpfilesPlace;
use crate::unit::syntax::UnitFile;
use crate::unit::user::{self, Unreachable};

/// What a deployment will contain besides the image's files, rendered and valid.
pub struct Checked {
    /// The unit as the image has it; `None` if the image is not a service.
    pub unit: Option<String>,
    /// tmpfiles.d(5); `None` if nothing needs to be created.
    pub tmpfiles: Option<String>,
    /// The runtime configuration as written and as normalised; `None` if there is no payload.
    pub config: Option<(String, Normalised)>,
    /// Files for the host.
    pub layout: Layout,
    /// Names of the [`variables::EXEC_VARIABLES`] that the unit uses.
    pub exec_variables: Vec<String>,
    /// Names of all variables that are used.
    pub used: BTreeSet<String>,
    /// Names of variables that are used where every user of the host can read them.
    pub readable: BTreeSet<String>,
    /// Names of all variables whose values are secret.
    pub secrets: BTreeSet<String>,
    /// Who tells systemd that the service is ready.
    pub notify: Notify,
    /// Directories that the payload writes to.
    pub volumes: Vec<Volume>,
    /// Whether the configuration was made here, so that the host says how the payload is confined.
    pub confined: bool,
    /// What the unit asks for and does not get.
    pub unkept: Vec<Unkept>,
    /// Whether the container runs once, with a root file system that may be written.
    pub run_once: bool,
}

/// Checks everything that was rendered for one installation of an image.
pub fn check(
    rendered: Rendered,
    exports: &Exports,
    tree: &dyn Tree,
    image: &Image,
    installation: &Installation,
    values: &Values,
) -> Result<Checked> {
    let what = || format!("cannot install {}", image.name);
    rendered.check_problems(&image.name)?;
    let layout = rendered.layout.context(what)?;
    let (mut used, readable, secrets) = (rendered.used, rendered.readable, rendered.secrets);
    let (mut volumes, mut confined) = (Vec::new(), false);
    let config = match (&exports.texts().config, rendered.config) {
        (Some(text), _) => Some((CONFIG, text.clone())),
        (None, Some(rendered)) => Some((CONFIG_TEMPLATE, rendered.text)),
        (None, None) if exports.runs_payload() => {
            let generated = generate(tree, image, installation, &mut used)
                .context(|| format!("cannot make a configuration for {}", image.name))?;
            (volumes, confined) = (generated.volumes, true);
            Some(("the image's configuration", generated.text))
        }
        (None, None) => None,
    };
    let unit = rendered.unit.map(|unit| unit.text);
    let parsed = UnitFile::parse(unit.as_deref().unwrap_or_default())
        .context(|| format!("invalid unit in {SERVICE_TEMPLATE}"))
        .context(what)?;
    let runs_payload = exports.exec_variables().iter().any(|used| used == "EXEC_START");
    check_unit(&parsed, runs_payload, &installation.link).context(what)?;
    let run_once = exports.is_run_once();
    let pid_file = values.get("PIDFILE").filter(|_| used.contains("PIDFILE")).map(String::as_str);
    let config = match config {
        Some((origin, text)) => {
            let normalised = config::parse(&text, origin, run_once).context(what)?;
            limits::check_mounts(&normalised)
                .and_then(|()| binds::check(&normalised, installation, pid_file))
                .context(|| format!("invalid configuration in {origin}"))
                .context(what)?;
            Some((text, normalised))
        }
        None => None,
    };
    let normalised = config.as_ref().map(|(_, normalised)| normalised);
    let tmpfiles = match rendered.tmpfiles {
        Some(tmpfiles) => Some(tmpfiles.text),
        None => normalised.map(|config| missing_sources(installation.root, config, &layout)),
    };
    let notify = notify_mode(&parsed, normalised, installation.user_notify);
    let unkept = if runs_payload { service::unkept(&parsed, notify) } else { Vec::new() };
    Ok(Checked {
        unkept,
        unit,
        tmpfiles: tmpfiles.filter(|text| !text.trim().is_empty()),
        config,
        layout,
        exec_variables: exports.exec_variables(),
        used,
        readable,
        secrets,
        notify,
        volumes,
        confined,
        run_once,
    })
}

/// Makes a configuration; values that no template uses are for the payload's environment, and so are used then.
fn generate(
    tree: &dyn Tree,
    image: &Image,
    installation: &Installation,
    used: &mut BTreeSet<String>,
) -> Result<GeneratedConfig> {
    let mut environment = installation.user_values.clone();
    environment.retain(|key, _| !used.contains(key) && !variables::is_forced(key));
    let generated = generated_config::generate(tree, image, installation, &environment)?;
    used.extend(environment.into_keys());
    Ok(generated)
}

/// Refuses a unit that would not do what it says.
fn check_unit(unit: &UnitFile, runs_payload: bool, link: &TreePath) -> Result<()> {
    if runs_payload {
        service::check(unit).context(|| format!("invalid unit in {SERVICE_TEMPLATE}"))?;
    }
    check_users(unit, link)
}

/// Refuses commands that run a file of the deployment as another user, who cannot reach it.
fn check_users(unit: &UnitFile, link: &TreePath) -> Result<()> {
    match user::unreachable(unit, &link.to_string()).first() {
        None => Ok(()),
        Some(Unreachable { line, key, file }) => Err(Error::new(format!(
            "{SERVICE_TEMPLATE}:{line}: {key}= runs {file} as another user, but only root can enter the deployment; set RootDirectory=$DESTDIR/rootfs, and write the path as it is in the image"
        ))),
    }
}

/// Returns who tells systemd that the service is ready, as the user chose, or else as the unit says.
pub fn notify_mode(unit: &UnitFile, config: Option<&Normalised>, chosen: Option<UserNotify>) -> Notify {
    match chosen {
        Some(UserNotify::No) => Notify::Created,
        Some(UserNotify::Full) => Notify::Socket,
        Some(UserNotify::Ready) => readiness(config),
        None if unit.last("Service", "Type") == Some("notify") => readiness(config),
        None => Notify::Created,
    }
}

fn readiness(config: Option<&Normalised>) -> Notify {
    if config.is_some_and(|config| config.has_pid_namespace() && !config.has_user_namespace()) {
        Notify::Ready
    } else {
        // From a user namespace, the payload cannot name processes outside; without a PID namespace, it sees those of
        // the host anyway.
        Notify::Socket
    }
}

/// Returns tmpfiles for the bind sources that the host lacks, or may lack after a boot: directories that only the
/// payload's user can enter. A directory that exists keeps its mode and owner. What the image itself brings for the
/// host is left out, and so are volumes and what is in a directory that the payload writes to: systemd-tmpfiles follows
/// symlinks, so prepare makes these.
fn missing_sources(root: &Root, config: &Normalised, layout: &Layout) -> String {
    let (uid, gid) = if config.has_user_namespace() { (0, 0) } else { config.user() };
    let brought: HashSet<&Path> = layout.files().iter().map(|file| file.path.as_path()).collect();
    let nested = nested_sources(config);
    let is_wanted = |source: &PathBuf| {
        if source.starts_with(VOLUMES) || nested.contains_key(&nesting::plain(source)) {
            return false;
        }
        let there = root.join(&TreePath::new(source));
        !brought.contains(source.as_path()) && (!there.exists() || is_volatile(source) && there.is_dir())
    };
    let mounts = config.mounts().filter(|mount| mount.has_bind_type());
    let sources = mounts.filter_map(|mount| mount.bind_source()).map(|source| source.components().collect());
    let missing: BTreeSet<PathBuf> = sources.filter(is_wanted).collect();
    let (mut lines, mut place) = (String::new(), TmpfilesPlace::default());
    place.push("d ");
    for source in missing {
        // A path that cannot be written in tmpfiles cannot be created; the start of the container will report that.
        if let Ok(path) = place.value(&source.to_string_lossy()) {
            lines.push_str(&format!("d {path} :0700 :{uid} :{gid} - -\n"));
        }
    }
    lines
}

/// Returns whether a directory that exists now may be gone after the next boot.
fn is_volatile(path: &Path) -> bool {
    ["/run", "/var/run", "/tmp"].iter().any(|above| path.starts_with(above) && path != Path::new(above))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::image::render;
    use crate::image::tree::Directory;
    use crate::oci::config::Config;
    use crate::provenance::Provenance;
    use serde_json::{Value, json};

    fn normalised(config: Value) -> Normalised {
        Config::new(config).normalised()
    }

    /// Takes the files of an image, with the labels and the command of its configuration, through the whole pipeline.
    fn install(files: &[(&str, &str)], config: &str, user_values: &[(&str, &str)]) -> Result<Checked> {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let tree = Directory(dir.path().to_path_buf());
        let image = Image {
            name: "r/web:1".into(),
            title: "r/web:1".into(),
            provenance: Provenance {
                transport: "docker".into(),
                source: concat!("docker://", "r/web:1").into(),
                architecture: "amd64".into(),
                policy_scope: None,
            },
            commit: String::new(),
            digest: Digest::of(b""),
            manifest: String::new(),
            config: format!(
                r#"{{"architecture": "amd64", "os": "linux", "config": {config}, "rootfs": {{"type": "layers", "diff_ids": []}}, "history": []}}"#
            ),
        };
        let user_values =
            user_values.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let installation = Installation {
            name: &"web".parse().unwrap(),
            image: &image.name,
            digest: &image.digest,
            root: &Root::new(dir.path().join("host")),
            link: "/d/web".into(),
            deployment: "/d/web.0".into(),
            runtime: Path::new("/usr/bin/crun"),
            uid: 0,
            gid: 0,
            uuid: None,
            user_values: &user_values,
            user_secrets: &BTreeSet::new(),
            settings: &Default::default(),
            user_notify: None,
        };
        let exports = Exports::read(&tree, &image)?;
        let values = variables::complete(&installation, &exports.manifest().default_values)?;
        let rendered = render::render(&exports, &tree, &installation, &values, None);
        check(rendered, &exports, &tree, &image, &installation, &values)
    }

    const CONFIG: &str = r#"{"root": {"path": "rootfs", "readonly": true},
        "process": {"args": ["/bin/web", "$PORT", "$DESTDIR"]},
        "mounts": [{"type": "bind", "source": "${STATE_DIRECTORY}/web", "destination": "/data"}]}"#;

    #[test]
    fn an_image_becomes_the_content_of_a_deployment() {
        let files = [
            ("exports/config.json.template", CONFIG),
            ("exports/service.template", "[Service]\nType=notify\nUser=web\nExecStart=$EXEC_START\n"),
            ("exports/manifest.json", r#"{"defaultValues": {"PORT": 80}}"#),
            ("exports/hostfs/etc/web.conf", ""),
        ];
        let checked = install(&files, "{}", &[("UNUSED", "x")]).unwrap();
        let (text, config) = checked.config.as_ref().unwrap();
        assert!(text.contains(r#"["/bin/web", "80", "/d/web.0"]"#), "{text}");
        assert_eq!(config.mounts().count(), 2);
        assert_eq!(checked.tmpfiles.as_deref(), Some("d /var/lib/web :0700 :0 :0 - -\n"));
        assert_eq!(
            (checked.exec_variables.as_slice(), checked.notify),
            (["EXEC_START".to_owned()].as_slice(), Notify::Socket)
        );
        assert!(!checked.confined);
        assert!(checked.used.contains("PORT") && !checked.used.contains("UNUSED"));
        let paths: Vec<_> = checked.layout.files().iter().map(|file| file.path.to_string()).collect();
        assert_eq!(paths, ["/etc", "/etc/web.conf"]);
    }

    #[test]
    fn an_image_without_exports_is_run_as_its_configuration_says() {
        let checked =
            install(&[], r#"{"Cmd": ["/bin/web"], "Volumes": {"/data": {}}}"#, &[("A", "b")]).unwrap();
        let (text, _) = checked.config.as_ref().unwrap();
        assert!(text.contains(r#""A=b""#) && checked.used.contains("A"), "{text}");
        assert!(text.contains(r#""source": "/var/lib/syscontainers/web/data""#), "{text}");
        assert_eq!(checked.tmpfiles, None);
        assert_eq!(checked.exec_variables, variables::EXEC_VARIABLES);
        assert!(checked.confined);
    }

    #[test]
    fn whatever_cannot_be_installed_is_refused() {
        let service = ("exports/service.template", "[Service]\nExecStart=$EXEC_START $NONE\n");
        for (files, expected) in [
            (vec![], "cannot make a configuration for r/web:1: it has neither exports/config.json nor"),
            (vec![service], "cannot render r/web:1: exports/service.template:2:23: no value for NONE; give"),
            (
                vec![("exports/manifest.json", "[]")],
                "invalid image r/web:1: cannot read exports/manifest.json: it is not a JSON object",
            ),
            (
                vec![("exports/config.json", "{")],
                "cannot install r/web:1: invalid JSON in exports/config.json, after",
            ),
            (
                vec![("exports/config.json", "{}")],
                "cannot install r/web:1: invalid configuration in exports/config.json: root.readonly must be true",
            ),
            (
                vec![("exports/service.template", "A=1")],
                "cannot install r/web:1: invalid unit in exports/service.template: line 1: A= is not in any section",
            ),
            (
                vec![(
                    "exports/service.template",
                    "[Service]\nUser=web\nExecStart=$DESTDIR/rootfs/bin/web\n",
                )],
                "cannot install r/web:1: exports/service.template:3: ExecStart= runs /d/web/rootfs/bin/web as another",
            ),
            (
                vec![("exports/hostfs/a", ""), ("exports/manifest.json", r#"{"renameFiles": {"/a": "b"}}"#)],
                "cannot install r/web:1: invalid files in exports/hostfs: exports/manifest.json renames /a to",
            ),
        ] {
            let error = install(&files, "{}", &[]).err().unwrap().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
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
            // A volume, and what is in a directory that the payload writes to.
            {"type": "bind", "source": "/var/lib/syscontainers/web/data", "destination": "/data"},
            {"type": "bind", "source": "/var/lib/x y%/in/it", "destination": "/e"},
        ]}));
        let lines = missing_sources(&Root::new(dir.path()), &config, &Layout::default());
        assert_eq!(lines, "d /run/there :0700 :7 :8 - -\nd /var/lib/x\" \"y%% :0700 :7 :8 - -\n");
        let none = normalised(json!({}));
        let lines = missing_sources(&Root::new(dir.path()), &none, &Layout::default());
        assert_eq!(lines, "");
    }

    #[test]
    fn who_is_told_of_readiness() {
        let unit = |text: &str| UnitFile::parse(text).unwrap();
        let own = normalised(json!({"linux": {"namespaces": [{"type": "pid"}]}}));
        let mapped = normalised(json!({"linux": {"namespaces": [{"type": "pid"}, {"type": "user"}]}}));
        let notify = unit("[Service]\nType=notify");
        let forking = unit("[Service]\nType=forking");
        for (unit, config, chosen, expected) in [
            (&notify, Some(&own), None, Notify::Ready),
            (&notify, Some(&mapped), None, Notify::Socket),
            (&notify, None, None, Notify::Socket),
            (&forking, Some(&own), None, Notify::Created),
            (&forking, Some(&own), Some(UserNotify::Ready), Notify::Ready),
            (&forking, Some(&own), Some(UserNotify::Full), Notify::Socket),
            (&notify, Some(&own), Some(UserNotify::No), Notify::Created),
        ] {
            assert_eq!(notify_mode(unit, config, chosen), expected, "{chosen:?}");
        }
    }
}
