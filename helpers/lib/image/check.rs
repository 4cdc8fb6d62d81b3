//! Fourth step from an image to a deployment: everything that was rendered is parsed, so that what would fail later
//! fails here.
//!
//! What the image left out is made here, too: a configuration from the image's own, and tmpfiles from the bind sources
//! that the host lacks.

use std::collections::BTreeSet;

use crate::container::info::Values;
use crate::container::needs;
use crate::container::readiness::{Notify, UserNotify};
use crate::container::volume::Volume;
use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::image::binds;
use crate::image::exports::{CONFIG, CONFIG_TEMPLATE, Exports, SERVICE_TEMPLATE};
use crate::image::generated_config;
use crate::image::installation::Installation;
use crate::image::layout::Layout;
use crate::image::limits;
use crate::image::options;
use crate::image::overrides;
use crate::image::render::Rendered;
use crate::image::tree::Tree;
use crate::image::variables;
use crate::oci::config::{self, Normalised};
use crate::paths::TreePath;
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
    /// Names of the values that are in the payload's environment.
    pub environment: BTreeSet<String>,
    /// Whether the configuration was made here, so that the host says how the payload is confined.
    pub confined: bool,
    /// Whether the container runs once, with a root file system that may be written.
    pub run_once: bool,
}

impl Checked {
    /// Whether the root file system is an overlay, as [`Execution::has_scratch`] says.
    ///
    /// [`Execution::has_scratch`]: crate::container::execution::Execution::has_scratch
    pub fn has_scratch(&self) -> bool {
        self.run_once || self.confined
    }
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
    let (mut volumes, mut confined, mut environment) = (Vec::new(), false, BTreeSet::new());
    overrides::refuse(installation.settings, exports).context(what)?;
    let config = match (&exports.texts().config, rendered.config) {
        (Some(text), _) => Some((CONFIG, text.clone())),
        (None, Some(rendered)) => Some((CONFIG_TEMPLATE, rendered.text)),
        (None, None) if exports.runs_payload() => {
            let is_plain = exports.is_plain() && layout.files().is_empty();
            let values = for_environment(installation.user_values, &used, is_plain);
            let generated = generated_config::generate(tree, image, installation, &values)
                .and_then(|made| needs::check(installation.root, installation.settings).map(|()| made))
                .context(|| format!("cannot make a configuration for {}", image.name))?;
            (volumes, confined) = (generated.volumes, true);
            environment.extend(values.into_keys());
            used.extend(environment.iter().cloned());
            Some(("the image's configuration", generated.text))
        }
        (None, None) => None,
    };
    let unit = rendered.unit.map(|unit| unit.text);
    let parsed = UnitFile::parse(unit.as_deref().unwrap_or_default())
        .context(|| format!("invalid unit in {SERVICE_TEMPLATE}"))
        .context(what)?;
    check_users(&parsed, &installation.link).context(what)?;
    let run_once = exports.is_run_once();
    options::check(installation.settings, confined, run_once).context(what)?;
    let pid_file = values.get("PIDFILE").filter(|_| used.contains("PIDFILE")).map(String::as_str);
    let parse = |(origin, text)| parse(origin, text, run_once || confined, installation, pid_file);
    let config = config.map(parse).transpose().context(what)?;
    let normalised = config.as_ref().map(|(_, normalised)| normalised);
    let tmpfiles = match rendered.tmpfiles {
        Some(tmpfiles) => Some(tmpfiles.text),
        // What is mounted there are its volumes, and what the administrator has.
        None if confined => None,
        None => normalised.map(|config| binds::missing_sources(installation.root, config, &layout)),
    };
    let notify = notify_mode(&parsed, normalised, installation.user_notify);
    Ok(Checked {
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
        environment,
        confined,
        run_once,
    })
}

/// Parses a configuration, and checks its mounts.
fn parse(
    origin: &str,
    text: String,
    has_scratch: bool,
    installation: &Installation,
    pid_file: Option<&str>,
) -> Result<(String, Normalised)> {
    let normalised = config::parse(&text, origin, has_scratch)?;
    limits::check_mounts(&normalised)
        .and_then(|()| binds::check(&normalised, installation, pid_file))
        .context(|| format!("invalid configuration in {origin}"))?;
    Ok((text, normalised))
}

/// The values that are for the payload's environment: those that no template uses. A plain image has no templates, so
/// all of them are, whatever the default unit makes of their names.
fn for_environment(user_values: &Values, used: &BTreeSet<String>, is_plain: bool) -> Values {
    let mut values = user_values.clone();
    values.retain(|name, _| is_plain || !used.contains(name) && !variables::is_forced(name));
    values
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::image::render;
    use crate::image::tree::Directory;
    use crate::oci::config::Config;
    use crate::paths::Root;
    use crate::provenance::Provenance;
    use serde_json::{Value, json};
    use std::path::Path;

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
