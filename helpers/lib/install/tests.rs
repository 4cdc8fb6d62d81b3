//! Installations and removals on a host in a temporary directory, killed after every step.

use std::fs;

use super::installer::Installer;
use super::plan::{Options, Planner};
use super::recovery;
use super::remover;
use super::testing::TestHost;
use crate::system::kill_point::testing::kill_after;
use crate::system::lock;

fn remove(host: &TestHost) {
    let _lock = lock::container(host.site.root(), &host.name).unwrap();
    let host_files = lock::host_files(host.site.root()).unwrap();
    let removed = remover::remove(&host.site, &host.name, remover::Options::default()).unwrap();
    drop(host_files);
    remover::finish(&host.site, &host.name, &removed.purged).unwrap();
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

#[test]
fn what_is_lost_in_etc_is_made_again() {
    let host = TestHost::new();
    host.install(1).unwrap();
    let before = host.derived();
    std::fs::remove_dir_all(host.site.root().path().join("etc")).unwrap();
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
