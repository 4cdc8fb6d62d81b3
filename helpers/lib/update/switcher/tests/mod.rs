//! Switches on a host in a temporary directory.

mod killed;
mod untried;

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::{Recovery, Switcher};
use crate::container::state::{Phase, Purpose, State};
use crate::error::{Error, Kind, Result};
use crate::image::Image;
use crate::image::tree::{Directory, Tree, TreeEntry};
use crate::install::plan::{Options, Planner};
use crate::install::previous::Previous;
use crate::install::recovery;
use crate::install::testing::TestHost;
use crate::system::lock;
use crate::system::systemd::fake::Fate;
use crate::system::systemd::manager::SystemState;
use crate::update::availability::{Prospect, Updates};
use crate::update::updater::Updater;

/// How long new deployments are watched.
const SOAK: Duration = Duration::from_secs(30);

/// Version 1 runs as web.0, and version 2 is staged as web.1.
fn staged() -> TestHost {
    let host = TestHost::new();
    host.install(1).unwrap();
    host.start();
    stage(&host, 2);
    host
}

fn stage(host: &TestHost, number: u32) {
    with_updater(host, number, |updater| updater.stage(false).unwrap());
}

fn with_updater<T>(host: &TestHost, number: u32, work: impl FnOnce(&Updater) -> T) -> T {
    with_updater_to(host, &host.image(number), work)
}

fn with_updater_to<T>(
    host: &TestHost,
    (tree, image): &(impl Tree, Image),
    work: impl FnOnce(&Updater) -> T,
) -> T {
    let options = Options::default();
    let current = host.site.deployments.installed(&host.name).unwrap();
    let previous = Previous::read(&host.site, &current, tree).unwrap();
    let planner = Planner {
        site: &host.site,
        tree,
        image,
        name: &host.name,
        options: &options,
        previous: Some(&previous),
    };
    let _lock = lock::container(host.site.root(), &host.name).unwrap();
    let _host_files = lock::host_files(host.site.root()).unwrap();
    work(&Updater { planner, previous: &previous })
}

fn switch(host: &TestHost, to: u32, purpose: Purpose) -> Result<()> {
    let _lock = lock::container(host.site.root(), &host.name)?;
    let from = host.site.deployments.installed(&host.name)?;
    let switcher = Switcher { site: &host.site, name: &host.name };
    switcher.switch(&from, &host.deployment(to), purpose, Some(SOAK))
}

fn update(host: &TestHost) -> Result<()> {
    switch(host, 1, Purpose::Update)
}

fn recover(host: &TestHost) -> Recovery {
    let _lock = lock::container(host.site.root(), &host.name).unwrap();
    Switcher { site: &host.site, name: &host.name }.recover().unwrap()
}

/// Does what a boot does: reconcile, start the service, and then confirm@ if there is something to watch.
fn boot(host: &TestHost) {
    host.manager.reboot();
    let is_unconfirmed = {
        let _lock = lock::container(host.site.root(), &host.name).unwrap();
        Switcher { site: &host.site, name: &host.name }.recover_at_boot().unwrap()
    };
    let found = recovery::find(&host.site.deployments).unwrap();
    recovery::reconcile(&host.site, &host.name, &found).unwrap();
    host.start();
    if is_unconfirmed {
        recover(host);
    }
}

fn state(host: &TestHost) -> State {
    State::load(&host.site.deployments, &host.name).unwrap()
}

/// Checks that the container is as a finished switch leaves it, and runs the current deployment.
fn check(host: &TestHost, when: &str) {
    host.check_consistent();
    assert_eq!(state(host).switch, None, "{when}");
    assert_eq!(host.running(), host.current(), "{when}");
}

#[test]
fn a_good_version_is_confirmed() {
    let host = staged();
    update(&host).unwrap();
    check(&host, "");
    assert_eq!((host.current(), state(&host).previous), (Some(1), Some(host.deployment(0))));
    assert_eq!(state(&host).staged, None);
    let restarts = host.manager.calls.borrow().iter().filter(|call| *call == "restart web.service").count();
    assert_eq!(restarts, 1);
}

#[test]
fn a_version_that_does_not_start_is_reverted_and_not_tried_again() {
    let host = staged();
    host.decide(&host.deployment(1), Fate::Fails);
    let error = update(&host).unwrap_err();
    assert_eq!(error.kind(), Kind::Reverted);
    assert!(error.to_string().contains("it did not start: failed"), "{error}");
    check(&host, "");
    assert_eq!(host.current(), Some(0));
    assert_eq!(host.entries(), [".web.state", "web", "web.0"]);
    stage(&host, 2);
    assert_eq!(state(&host).staged, None, "what failed is not staged again");
    with_updater(&host, 2, |updater| updater.stage(true).unwrap());
    assert!(state(&host).staged.is_some(), "but it is if it has to be");
}

#[test]
fn a_version_that_dies_while_it_is_watched_is_reverted() {
    let host = staged();
    host.decide(&host.deployment(1), Fate::Dies(SOAK / 2));
    let error = update(&host).unwrap_err();
    assert!(error.to_string().contains("the service left the active state: failed"), "{error}");
    check(&host, "");
    assert_eq!(host.current(), Some(0));
}

#[test]
fn a_version_that_takes_a_dependent_down_is_reverted() {
    let host = staged();
    host.manager.add_dependent("user.service", &host.name.unit());
    host.manager.decide(|_| Fate::Runs);
    crate::system::systemd::manager::reset_and_queue(
        host.site.manager(),
        crate::system::systemd::manager::Verb::Start,
        &["user.service".to_owned()],
    )
    .unwrap();
    let deployments = host.site.deployments.clone();
    let name = host.name.clone();
    host.manager.decide(move |unit| {
        let is_new = deployments.current(&name).unwrap().is_some_and(|current| current.number() == 1);
        if unit == "user.service" && is_new { Fate::Fails } else { Fate::Runs }
    });
    let error = update(&host).unwrap_err();
    assert!(error.to_string().contains("user.service, which needs it, is failed"), "{error}");
    check(&host, "");
    assert_eq!((host.current(), host.manager.state_of("user.service")), (Some(0), "active".into()));
}

#[test]
fn an_old_version_that_does_not_start_either_is_not_the_image_s_fault() {
    let host = staged();
    host.manager.decide(|_| Fate::Fails);
    assert_eq!(update(&host).unwrap_err().kind(), Kind::Reverted);
    assert_eq!((host.current(), state(&host).failed.len()), (Some(0), 0));
}

#[test]
fn a_container_that_does_not_run_is_not_watched() {
    let host = TestHost::new();
    host.install(1).unwrap();
    stage(&host, 2);
    update(&host).unwrap();
    host.check_consistent();
    assert_eq!((host.current(), host.running()), (Some(1), None));
}

#[test]
fn a_rollback_by_hand_remembers_why() {
    let host = staged();
    update(&host).unwrap();
    switch(&host, 0, Purpose::Rollback("it was slow".into())).unwrap();
    check(&host, "");
    assert_eq!(state(&host).failed[0].reason, "it was slow");
    assert_eq!(state(&host).previous, Some(host.deployment(1)));
}

#[test]
fn a_signal_reverts_and_a_shutdown_leaves_it_to_the_next_boot() {
    let host = staged();
    host.manager.interrupt_at(SOAK / 2, SystemState::Running);
    assert_eq!(update(&host).unwrap_err().kind(), Kind::Reverted);
    check(&host, "");
    assert_eq!((host.current(), state(&host).failed.len()), (Some(0), 0));

    let host = staged();
    host.manager.interrupt_at(SOAK / 2, SystemState::Stopping);
    let error = update(&host).unwrap_err();
    assert!(error.kind() == Kind::Failure && error.to_string().contains("the next boot"), "{error}");
    assert_eq!(state(&host).switch.unwrap().phase, Phase::Watch);
    boot(&host);
    check(&host, "");
    assert_eq!(host.current(), Some(1));
}

#[test]
fn a_service_that_a_shutdown_stops_first_is_not_confirmed() {
    let host = staged();
    host.manager.shut_down_at(SOAK / 2);
    let error = update(&host).unwrap_err();
    assert!(error.to_string().contains("the next boot"), "{error}");
    assert_eq!(state(&host).switch.unwrap().phase, Phase::Watch);
    boot(&host);
    check(&host, "");
    assert_eq!(host.current(), Some(1));
}

#[test]
fn what_is_not_confirmed_in_two_boots_is_reverted() {
    let host = staged();
    host.manager.interrupt_at(Duration::ZERO, SystemState::Stopping);
    update(&host).unwrap_err();
    // Nothing watches in the first boot after the switch.
    host.manager.reboot();
    let switcher = Switcher { site: &host.site, name: &host.name };
    assert!(switcher.recover_at_boot().unwrap());
    assert_eq!(state(&host).switch.unwrap().phase, Phase::Trial);
    host.start();
    boot(&host);
    check(&host, "");
    assert_eq!(host.current(), Some(0));
    assert_eq!(state(&host).failed[0].reason, "it was not confirmed in two boots");
}

#[test]
fn a_deployment_whose_info_is_damaged_stops_no_unit_of_others() {
    for (is_foreign, state) in [(true, "active"), (false, "inactive")] {
        let host = TestHost::new();
        host.install(1).unwrap();
        if is_foreign {
            host.manager.make_foreign(&host.name.unit());
        }
        host.start();
        let image = host.image_without_service(2);
        with_updater_to(&host, &image, |updater| updater.stage(false).unwrap());
        let info = host.site.deployments.path_of(&host.deployment(0)).join("info");
        std::fs::write(info, "{").unwrap();
        update(&host).unwrap();
        assert_eq!((host.current(), host.manager.state_of(&host.name.unit())), (Some(1), state.into()));
    }
}

#[test]
fn a_container_whose_directory_is_not_mounted_stays_registered() {
    let host = staged();
    let (directory, derived) = (host.site.root().join("/var/lib/containers"), host.derived());
    std::fs::rename(&directory, directory.with_extension("away")).unwrap();
    recover(&host);
    assert_eq!(host.derived(), derived);
    std::fs::rename(directory.with_extension("away"), &directory).unwrap();
    recover(&host);
    check(&host, "");
}

#[test]
fn an_image_that_is_current_is_news_to_a_container_that_is_to_have_other_values() {
    let host = staged();
    let current = host.image(1).1.digest;
    let prospect = || Updates::of(&host.site.deployments, &host.name).unwrap().prospect(&current);
    assert_eq!(prospect(), Prospect::Current);
    let path = host.site.deployments.path_of(&host.deployment(1)).join("info");
    let mut info: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    info["syscontainers"]["user-values"]["A"] = "2".into();
    fs::write(&path, info.to_string()).unwrap();
    assert_eq!(prospect(), Prospect::Newer);
}

/// An image that cannot be checked out.
struct OnFullDisk(Directory);

impl Tree for OnFullDisk {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.0.read(path)
    }

    fn walk(&self, path: &str) -> Result<Vec<TreeEntry>> {
        self.0.walk(path)
    }

    fn checkout(&self, _: &Path) -> Result<()> {
        Err(Error::new("no space left on device"))
    }
}

#[test]
fn staging_that_fails_leaves_what_was_staged() {
    let host = staged();
    let (files, image) = host.image(3);
    with_updater_to(&host, &(OnFullDisk(files), image), |updater| updater.stage(false).unwrap_err());
    assert_eq!(state(&host).staged, Some(host.deployment(1)));
}
