//! Installations and removals on a host in a temporary directory, killed after every step.

use std::fs;
use std::os::unix::fs::DirBuilderExt;

use super::claim;
use super::installer::Installer;
use super::plan::{Options, Planner};
use super::recovery;
use super::remover;
use super::state_directories;
use super::testing::TestHost;
use crate::container::stale;
use crate::error::{Kind, Result};
use crate::paths::Root;
use crate::run::volumes;
use crate::system::kill_point::testing::kill_after;
use crate::system::{files, lock};

fn remove(host: &TestHost) {
    remove_with(host, remover::Options::default()).unwrap();
}

fn purge(host: &TestHost) -> Result<()> {
    remove_with(host, remover::Options { purge: true, ..remover::Options::default() })
}

/// Removes the container as syscontainer-remove does.
fn remove_with(host: &TestHost, options: remover::Options) -> Result<()> {
    let _lock = lock::container(host.site.root(), &host.name)?;
    let host_files = lock::host_files(host.site.root())?;
    let removed = remover::remove(&host.site, &host.name, options)?;
    drop(host_files);
    remover::finish(&host.site, &host.name, &removed.purged)
}

fn recover(host: &TestHost) {
    let _lock = lock::container(host.site.root(), &host.name).unwrap();
    let _host_files = lock::host_files(host.site.root()).unwrap();
    let recovered = recovery::recover(&host.site, &host.name).unwrap();
    if recovered.created {
        recovery::enable(&host.site, &host.name).unwrap();
    }
}

#[test]
fn an_installation_leaves_nothing_when_it_is_removed() {
    let host = TestHost::new();
    host.install(1).unwrap();
    host.check_consistent();
    host.start();
    assert_eq!(host.running(), Some(0));
    remove(&host);
    assert_eq!((host.derived(), host.entries()), (vec![], vec![]));
    assert_eq!(host.running(), None);
}

#[test]
fn an_installation_of_something_else_under_the_name_is_refused() {
    let host = TestHost::new();
    host.install(1).unwrap();
    host.install(1).unwrap();
    let error = host.install(2).unwrap_err().to_string();
    assert!(error.contains("installed already") && error.contains("--update web"), "{error}");
}

#[test]
fn an_installation_killed_after_any_step_is_completed_by_the_same_command() {
    let mut steps = 0;
    loop {
        let host = TestHost::new();
        let is_done = kill_after(steps, || host.install(1).unwrap()).is_some();
        recover(&host);
        host.install(1).unwrap();
        host.check_consistent();
        assert_eq!(host.entries(), ["web", "web.0"], "killed after step {steps}");
        if is_done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 10, "{steps} steps");
}

#[test]
fn an_installation_killed_after_any_step_is_there_or_not_after_a_recovery() {
    let mut steps = 0;
    while kill_and_recover(steps).is_none() {
        steps += 1;
    }
    assert!(steps > 10, "{steps} steps");
}

fn kill_and_recover(steps: u32) -> Option<()> {
    let host = TestHost::new();
    let done = kill_after(steps, || host.install(1).unwrap());
    recover(&host);
    match host.current() {
        Some(_) => {
            let registered = host.derived().len();
            assert_eq!(registered, 3, "killed after step {steps}: {:?}", host.derived());
        }
        None => assert_eq!((host.derived(), host.entries()), (vec![], vec![]), "killed after step {steps}"),
    }
    done
}

#[test]
fn a_removal_killed_after_any_step_is_completed_by_the_same_command() {
    let mut steps = 0;
    loop {
        let host = TestHost::new();
        host.install(1).unwrap();
        host.start();
        let is_done = kill_after(steps, || remove(&host)).is_some();
        if host.current().is_some() || !host.entries().is_empty() || !host.derived().is_empty() {
            remove(&host);
        }
        assert_eq!((host.derived(), host.entries()), (vec![], vec![]), "killed after step {steps}");
        assert_eq!(host.running(), None);
        if is_done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 5, "{steps} steps");
}

/// Where the container of [`writer`] has written to.
const WRITTEN: [&str; 2] = ["/var/lib/web/sub/file", "/var/lib/syscontainers/web/data/file"];

/// A container that runs, and has written to a directory of its own and to a volume.
fn writer() -> TestHost {
    let host = TestHost::new();
    let image = host.image(1);
    fs::write(image.0.0.join("exports/tmpfiles.template"), "d ${STATE_DIRECTORY}/$NAME 0700\n").unwrap();
    host.install_image(&image, &Options::default()).unwrap();
    host.start();
    for path in WRITTEN.map(|path| host.site.root().join(path)) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    host
}

/// What is left of what it wrote, under whatever names.
fn left_of_writes(host: &TestHost) -> Vec<String> {
    let places = ["/var/lib", "/var/lib/syscontainers"].map(|path| host.site.root().join(path));
    places.iter().flat_map(|path| files::names(path).unwrap()).filter(|name| name.contains("web")).collect()
}

/// Does what a prune does for a container whose removal was killed.
fn prune(host: &TestHost) {
    recover(host);
    let doomed = state_directories::half_purged(&host.site.deployments).unwrap();
    doomed
        .iter()
        .for_each(|(name, _)| state_directories::finish_purge(&host.site.deployments, name).unwrap());
    let doomed = volumes::half_purged(host.site.root()).unwrap();
    doomed.iter().for_each(|name| volumes::finish_purge(host.site.root(), name).unwrap());
}

#[test]
fn a_purge_killed_after_any_step_is_completed_by_the_same_command() {
    let mut steps = 0;
    loop {
        let host = writer();
        let is_done = kill_after(steps, || purge(&host).unwrap()).is_some();
        let again = purge(&host);
        assert!(
            again.is_ok() || again.is_err_and(|e| e.kind() == Kind::NotFound),
            "killed after step {steps}"
        );
        assert_eq!((host.derived(), host.entries()), (vec![], vec![]), "killed after step {steps}");
        assert_eq!((host.running(), left_of_writes(&host)), (None, vec![]), "killed after step {steps}");
        if is_done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 10, "{steps} steps");
}

#[test]
fn a_purge_killed_after_any_step_leaves_a_prune_the_container_or_nothing_of_it() {
    let mut steps = 0;
    loop {
        let host = writer();
        let is_done = kill_after(steps, || purge(&host).unwrap()).is_some();
        let has_data = WRITTEN.map(|path| host.site.root().join(path).exists());
        prune(&host);
        match host.current() {
            // Some of what it wrote may be gone: the same command would remove the rest.
            Some(_) => host.check_consistent(),
            None => {
                assert_eq!((host.derived(), host.entries()), (vec![], vec![]), "killed after step {steps}");
                assert_eq!(has_data, [false; 2], "killed after step {steps}");
            }
        }
        let has_now = WRITTEN.map(|path| host.site.root().join(path).exists());
        assert_eq!(has_data, has_now, "killed after step {steps}");
        let left = has_now.iter().filter(|has| **has).count();
        assert_eq!(left_of_writes(&host), vec!["web"; left], "killed after step {steps}");
        if is_done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 10, "{steps} steps");
}

#[test]
fn what_is_lost_in_etc_is_made_again() {
    let host = TestHost::new();
    host.install(1).unwrap();
    let before = host.derived();
    fs::remove_dir_all(host.site.root().path().join("etc")).unwrap();
    recover(&host);
    // The stub and the registration; what the user removed of host files stays away.
    assert_eq!(host.derived(), before);
    host.check_consistent();
}

#[test]
fn a_preview_enables_only_what_has_an_install_section() {
    let host = TestHost::new();
    let (tree, image) = host.image(1);
    let template = tree.0.join("exports/service.template");
    for (section, is_installable) in
        [("[Install]\nWantedBy=multi-user.target\n", true), ("# [Install]\n", false), ("[Install]\n", false)]
    {
        fs::write(&template, format!("[Service]\nExecStart=$EXEC_START\n{section}")).unwrap();
        let planner = Planner {
            site: &host.site,
            tree: &tree,
            image: &image,
            name: &host.name,
            options: &Options::default(),
            previous: None,
        };
        let text = Installer { planner }.preview().unwrap();
        assert_eq!(text.contains("systemctl enable"), is_installable, "{section}");
    }
}

/// systemd prefers the unit of an instance to its template, whoever these belong to.
#[test]
fn the_instance_of_another_template_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::new(dir.path());
    let units = dir.path().join("usr/lib/systemd/system");
    fs::create_dir_all(&units).unwrap();
    fs::write(units.join("db@.service"), "[Service]\nExecStart=/usr/bin/db\n").unwrap();
    let check = |name: &str, is_installed, replace_unit| {
        let claim = claim::Claim {
            unit: true,
            replace_unit,
            tmpfiles: false,
            is_installed,
            may_be_masked: is_installed,
        };
        claim::check_name(&root, &name.parse().unwrap(), &claim).map_err(|e| e.to_string())
    };
    let error = check("db@16", false, false).unwrap_err();
    let expected =
        "cannot install db@16: /usr/lib/systemd/system/db@.service is the template of a unit of that name";
    assert!(error.starts_with(expected) && error.contains("--replace-unit"), "{error}");
    for (name, is_installed, replaces) in
        [("db@16", true, false), ("db@16", false, true), ("db", false, false), ("web@16", false, false)]
    {
        check(name, is_installed, replaces).unwrap();
    }
}

/// The host with the directory of deployments of another one in place of its own.
fn swap_storage(host: &TestHost, other: &TestHost) {
    let places = [host, other].map(|host| host.site.deployments.path(""));
    let aside = places[0].with_file_name("aside");
    fs::rename(&places[0], &aside).unwrap();
    fs::rename(&places[1], &places[0]).unwrap();
    fs::rename(&aside, &places[1]).unwrap();
}

fn reconcile(host: &TestHost) {
    let found = recovery::find(&host.site.deployments).unwrap();
    recovery::reconcile(&host.site, &host.name, &found).unwrap();
}

#[test]
fn the_storage_of_another_host_says_nothing_of_a_container() {
    let [host, other] = [(); 2].map(|()| {
        let host = TestHost::new();
        host.install(1).unwrap();
        host.start();
        host
    });
    let before = host.derived();
    swap_storage(&host, &other);
    reconcile(&host);
    assert_eq!(host.derived(), before);
    let note = stale::read(host.site.root(), &host.name).unwrap();
    assert!(!note.gone && note.why.contains("another one in its place"), "{}", note.why);
    let refused = remove_with(&host, remover::Options::default()).unwrap_err().to_string();
    assert!(refused.contains("--adopt"), "{refused}");
    assert_eq!((host.derived(), host.running()), (before.clone(), Some(0)));
    assert_eq!(host.entries(), ["web", "web.0"]);
    // The right one is back.
    swap_storage(&host, &other);
    reconcile(&host);
    assert_eq!((host.derived(), stale::read(host.site.root(), &host.name)), (before.clone(), None));
    // The other one is the right one from now on.
    swap_storage(&host, &other);
    let mut found = recovery::find(&host.site.deployments).unwrap();
    found.adopts = true;
    recovery::reconcile(&host.site, &host.name, &found).unwrap();
    assert_ne!(host.derived(), before);
    host.check_consistent();
    reconcile(&host);
    remove(&host);
    assert!(host.derived().is_empty());
}

#[test]
fn storage_that_was_emptied_or_copied_is_still_that_of_the_host() {
    let host = TestHost::new();
    host.install(1).unwrap();
    // Whoever copied it left hidden files behind.
    fs::remove_file(host.site.deployments.path(".identity")).unwrap();
    reconcile(&host);
    host.check_consistent();
    assert!(host.site.deployments.path(".identity").exists());
    fs::remove_dir_all(host.site.deployments.path("")).unwrap();
    host.site.deployments.create().unwrap();
    reconcile(&host);
    let note = stale::read(host.site.root(), &host.name).unwrap();
    assert!(note.gone && note.why.contains("'syscontainer-remove web'"), "{}", note.why);
    host.install(1).unwrap();
    host.check_consistent();
    assert_eq!(stale::read(host.site.root(), &host.name), None);
}
