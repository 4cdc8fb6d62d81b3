use super::*;
use crate::container::{registration, stale};
use crate::install::testing::TestHost;
use crate::install::{recovery, remover};
use crate::paths::TreePath;
use crate::system::kill_point::testing::kill_after;
use crate::system::lock;
use crate::system::systemd::manager::Manager;
use std::os::unix::fs::PermissionsExt;

/// What there is below /usr of the container, but for the runtime.
fn in_usr(host: &TestHost) -> Vec<String> {
    let usr = host.site.root().join("/usr");
    let found = walkdir::WalkDir::new(&usr).into_iter().map(|entry| entry.unwrap());
    let ours = found.filter(|entry| {
        let name = entry.file_name().to_string_lossy();
        name.contains("web")
            && entry.path().ancestors().skip(1).all(|above| !above.to_string_lossy().contains("web"))
    });
    let mut paths: Vec<_> =
        ours.map(|entry| entry.path().strip_prefix(&usr).unwrap().display().to_string()).collect();
    paths.sort();
    paths
}

const ALL: [&str; 5] = [
    "lib/containers/atomic/web",
    "lib/containers/atomic/web.0",
    "lib/syscontainers/attached/web.json",
    "lib/systemd/system-preset/80-syscontainer-web.preset",
    "lib/systemd/system/web.service",
];

fn remove_from_tree(host: &TestHost) {
    remove(&host.system(), &host.name).unwrap();
}

fn reconcile(host: &TestHost) -> recovery::Recovered {
    let found = recovery::find(&host.site.deployments).unwrap();
    recovery::reconcile(&host.site, &host.name, &found).unwrap()
}

#[test]
fn everything_is_in_usr_and_closed() {
    let host = TestHost::new();
    host.preinstall(1).unwrap();
    assert_eq!(in_usr(&host), ALL);
    assert_eq!((host.derived(), host.entries(), host.current()), (vec![], vec![], Some(0)));
    assert!(!host.site.root().join("/etc").exists());
    let mode = |path| host.site.root().join(path).metadata().unwrap().permissions().mode() & 0o7777;
    for (path, expected) in [
        ("/usr/lib/containers/atomic", 0o700),
        ("/usr/lib/containers/atomic/web.0", 0o700),
        ("/usr/lib/containers/atomic/web.0/info", 0o600),
        ("/usr/lib/syscontainers/attached", 0o700),
        ("/usr/lib/syscontainers/attached/web.json", 0o600),
        ("/usr/lib/systemd/system/web.service", 0o644),
    ] {
        assert_eq!(mode(path), expected, "{path}");
    }
    let (path, registration) = registration::find(host.site.root(), &host.name).unwrap().unwrap();
    assert_eq!(path, TreePath::from("/usr/lib/syscontainers/attached/web.json"));
    assert_eq!(registration.link(), TreePath::from("/usr/lib/containers/atomic/web"));
    assert!(registration.stamp.is_none() && registration.is_preinstalled());
    assert!(host.manager.is_enabled(&host.name).unwrap());
    assert_eq!(host.site.deployments.names().unwrap(), std::slice::from_ref(&host.name));
    assert_eq!(host.site.deployments.next(&host.name).unwrap(), host.deployment(1));
}

#[test]
fn recovery_leaves_it_alone() {
    let host = TestHost::new();
    host.preinstall(1).unwrap();
    host.manager.calls.borrow_mut().clear();
    assert_eq!(reconcile(&host), recovery::Recovered::default());
    assert!(stale::read(host.site.root(), &host.name).is_none());
    let _lock = lock::container(host.site.root(), &host.name).unwrap();
    let _host_files = lock::host_files(host.site.root()).unwrap();
    assert_eq!(recovery::recover(&host.site, &host.name).unwrap(), recovery::Recovered::default());
    assert_eq!((in_usr(&host), host.manager.calls.borrow().len()), (ALL.map(str::to_owned).to_vec(), 0));
    let error = remover::remove(&host.site, &host.name, remover::Options::default()).unwrap_err().to_string();
    assert!(error.contains("systemctl mask --now web") && error.contains("--root=DIR web"), "{error}");
    assert_eq!(in_usr(&host), ALL);
}

#[test]
fn what_cannot_be_preinstalled_is_refused_and_leaves_nothing() {
    let host = TestHost::new();
    let error = host.preinstall_image(&host.image(1)).unwrap_err().to_string();
    assert!(error.contains("files for the host (exports/hostfs)"), "{error}");
    assert!(in_usr(&host).is_empty());
    let stub = host.site.root().join("/usr/lib/systemd/system/web.service");
    fs::create_dir_all(stub.parent().unwrap()).unwrap();
    fs::write(&stub, "[Service]\n").unwrap();
    let error = host.preinstall(1).unwrap_err().to_string();
    assert!(error.contains("/usr/lib/systemd/system/web.service belongs to something else"), "{error}");
    fs::remove_file(&stub).unwrap();
    host.preinstall(1).unwrap();
    let error = host.preinstall(2).unwrap_err().to_string();
    assert!(error.contains("preinstalled already"), "{error}");
    remove_from_tree(&host);
    assert!(in_usr(&host).is_empty() && !host.manager.is_enabled(&host.name).unwrap());
    host.install(1).unwrap();
    let error = host.preinstall(1).unwrap_err().to_string();
    assert!(error.contains("it is installed in") && error.contains("remove it first"), "{error}");
}

#[test]
fn killed_after_any_step_it_is_completed_or_removed() {
    let (mut steps, mut is_done) = (0, false);
    while !is_done {
        for is_removed in [false, true] {
            let host = TestHost::new();
            is_done = kill_after(steps, || host.preinstall(1).unwrap()).is_some();
            if is_removed {
                remove_from_tree(&host);
                assert!(in_usr(&host).is_empty(), "killed after step {steps}");
            } else {
                host.preinstall(1).unwrap();
                assert_eq!(in_usr(&host), ALL, "killed after step {steps}");
                assert!(host.manager.is_enabled(&host.name).unwrap(), "killed after step {steps}");
            }
        }
        steps += 1;
    }
    assert!(steps > 10, "{steps} steps");
}

#[test]
fn a_removal_killed_after_any_step_is_completed() {
    let (mut steps, mut is_done) = (0, false);
    while !is_done {
        let host = TestHost::new();
        host.preinstall(1).unwrap();
        is_done = kill_after(steps, || remove_from_tree(&host)).is_some();
        assert!(is_done || is_there(host.site.root(), &host.name).unwrap() || in_usr(&host).is_empty());
        remove_from_tree(&host);
        assert!(in_usr(&host).is_empty(), "killed after step {steps}");
        steps += 1;
    }
    assert!(steps > 5, "{steps} steps");
}
