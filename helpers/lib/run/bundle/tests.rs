use super::*;
use crate::oci::config::Config;
use serde_json::Value;

fn registration(notify: Notify) -> Registration {
    let text = json!({
        "version": 1, "name": "x", "directory": "/var/lib/containers/atomic", "deployment": "x.1",
        "image": "i", "digest": format!("sha256:{:064}", 0), "execution": {"notify": notify},
    });
    crate::container::registration::parse(
        text.to_string().as_bytes(),
        &"x".parse().unwrap(),
        &TreePath::from("/x"),
    )
    .unwrap()
}

fn assembled(config: Value, notify: Notify, kind: RuntimeKind) -> Value {
    let runtime = Runtime { path: "/usr/bin/x".into(), kind };
    let (config, registration) = (Config::new(config).normalised(), registration(notify));
    let bundle = Bundle::new(&Root::default(), &"x".parse().unwrap());
    let (_, socket) = passages(&config, &registration, &bundle).unwrap();
    assemble(config, &registration, &runtime, (&bundle, socket.as_ref())).unwrap().value().clone()
}

fn config() -> Value {
    json!({
        "root": {"path": "rootfs", "readonly": true},
        "process": {"args": ["x"], "env": ["NOTIFY_SOCKET=/x", "A=b"]},
        "linux": {"resources": {"memory": {"limit": 1}}, "cgroupsPath": "/x"},
    })
}

#[test]
fn resources_are_left_to_the_unit() {
    let crun = assembled(config(), Notify::Created, RuntimeKind::Crun);
    assert_eq!(crun["linux"], json!({}));
    assert_eq!(crun["root"]["path"], "/var/lib/containers/atomic/x.1/rootfs");
    assert_eq!(crun["process"]["env"], json!(["A=b"]));
    let runc = assembled(config(), Notify::Created, RuntimeKind::Runc);
    assert_eq!(runc["linux"], json!({"resources": {"devices": [{"allow": true, "access": "rwm"}]}}));
}

#[test]
fn user_namespaces_are_shown_the_root_file_system() {
    let mut config = config();
    config["linux"] = json!({"namespaces": [{"type": "pid"}, {"type": "user"}]});
    config["mounts"] = json!([{"destination": "/a", "type": "bind", "source": "rootfs/x"},
        {"destination": "/b", "type": "bind", "source": "/y"}]);
    let (registration, bundle) =
        (registration(Notify::Ready), Bundle::new(&Root::default(), &"x".parse().unwrap()));
    let (shown, socket) =
        passages(&Config::new(config.clone()).normalised(), &registration, &bundle).unwrap();
    assert_eq!(shown, Some("/var/lib/containers/atomic/x.1/rootfs".into()));
    assert_eq!(socket, Some("/run/syscontainers/x/notify".into()));
    let config = assembled(config, Notify::Ready, RuntimeKind::Crun);
    assert_eq!(config["root"]["path"], view::ROOTFS);
    // The first one is of /dev.
    assert_eq!(config["mounts"][1]["source"], "/run/syscontainers/.rootfs/x");
    assert_eq!(config["mounts"][2]["source"], "/y");
}

#[test]
fn relative_sources_are_relative_to_the_deployment() {
    let mut relative = config();
    relative["mounts"] = json!([{"destination": "/a", "type": "bind", "source": "rootfs/x"}, {"destination": "/b", "type": "bind", "source": "/y"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}]);
    let relative = assembled(relative, Notify::Created, RuntimeKind::Crun);
    assert_eq!(relative["mounts"][0]["source"], "/var/lib/containers/atomic/x.1/rootfs/x");
    assert_eq!(relative["mounts"][1]["source"], "/y");
    assert_eq!(relative["mounts"][2]["source"], "tmpfs");
}

#[test]
fn the_socket_of_systemd_is_mounted_read_only() {
    let host = assembled(config(), Notify::Socket, RuntimeKind::Crun);
    let socket = &host["mounts"].as_array().unwrap()[1];
    assert_eq!(socket["source"], SYSTEMD_NOTIFY);
    assert!(socket["options"].as_array().unwrap().contains(&json!("ro")), "{socket}");
}

#[test]
fn notify_sockets() {
    let own = assembled(config(), Notify::Ready, RuntimeKind::Crun);
    assert_eq!(own["process"]["env"], json!(["A=b", "NOTIFY_SOCKET=/run/host/notify"]));
    assert_eq!(own["mounts"][1]["source"], "/run/syscontainers/x/notify");
    let host = assembled(config(), Notify::Socket, RuntimeKind::Crun);
    assert_eq!(host["mounts"][1]["source"], "/run/systemd/notify");
    let mut shared = config();
    shared["mounts"] =
        json!([{"destination": "/run/", "type": "bind", "source": "/run", "options": ["rbind", "rshared"]}]);
    let paths = [(); 2].map(|()| {
        let shared = assembled(shared.clone(), Notify::Ready, RuntimeKind::Crun);
        assert_eq!(shared["mounts"].as_array().unwrap().len(), 2);
        shared["process"]["env"][1].as_str().unwrap().to_owned()
    });
    // Nobody can guess it.
    let secrets = paths.each_ref().map(|path| {
        let below = path.strip_prefix("NOTIFY_SOCKET=/run/syscontainers/.notify/").unwrap();
        below.strip_suffix("/notify").unwrap()
    });
    assert!(secrets.iter().all(|secret| secret.len() == 32) && secrets[0] != secrets[1], "{secrets:?}");
}

#[test]
fn the_directory_of_a_socket_goes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path());
    let bundle = Bundle::new(&root, &"x".parse().unwrap());
    let socket = bundle.notify(true).unwrap();
    fs::create_dir_all(root.join(&TreePath::from(paths::NOTIFY))).unwrap();
    bundle.make_socket_directory(&socket).unwrap();
    fs::write(root.join(&socket), "").unwrap();
    bundle.remove_socket(&socket).unwrap();
    bundle.remove_socket(&socket).unwrap();
    assert_eq!(fs::read_dir(root.join(&TreePath::from(paths::NOTIFY))).unwrap().count(), 0);
    // That of a bundle is in it.
    let socket = bundle.notify(false).unwrap();
    bundle.make_socket_directory(&socket).unwrap();
    assert!(!bundle.directory().exists());
}

#[test]
fn what_runs_is_not_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let name = "x".parse().unwrap();
    let bundle = Bundle::new(&Root::new(dir.path()), &name);
    bundle.check_not_running(&name).unwrap();
    fs::create_dir_all(bundle.directory()).unwrap();
    let mut payload = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = payload.id();
    fs::write(bundle.pid_file(), pid.to_string()).unwrap();
    bundle.record_payload().unwrap();
    let why = bundle.check_not_running(&name).unwrap_err().to_string();
    let expected = format!("it is running already, as process {pid}; stop it with 'systemctl stop x'");
    assert!(why.starts_with(&expected), "{why}");
    payload.kill().unwrap();
    payload.wait().unwrap();
    bundle.check_not_running(&name).unwrap();
}
