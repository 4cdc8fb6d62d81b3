use super::*;
use crate::commit::Commit;
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
        commit: Commit::unknown(),
        digest: Digest::of(b""),
        manifest: String::new(),
        config: format!(
            r#"{{"architecture": "amd64", "os": "linux", "config": {config}, "rootfs": {{"type": "layers", "diff_ids": []}}, "history": []}}"#
        ),
    };
    let user_values = user_values.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let runtime = TreePath::from("/usr/bin/crun");
    let installation = Installation {
        name: &"web".parse().unwrap(),
        image: &image.name,
        digest: &image.digest,
        root: &Root::new(dir.path().join("host")),
        link: "/d/web".into(),
        deployment: "/d/web.0".into(),
        runtime: Some(&runtime),
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
    check(rendered, &exports, &tree, Some(&image), &installation, &values)
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
    let checked = install(&[], r#"{"Cmd": ["/bin/web"], "Volumes": {"/data": {}}}"#, &[("A", "b")]).unwrap();
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
        (vec![], "cannot generate a configuration for r/web:1: it has neither exports/config.json nor"),
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
            vec![("exports/service.template", "[Service]\nUser=web\nExecStart=$DESTDIR/rootfs/bin/web\n")],
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
