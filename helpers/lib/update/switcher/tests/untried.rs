//! What was decided since the last start, when an update is reverted that was made with it.

use super::*;
use crate::container::settings::Settings;

/// Makes a deployment with these options, at once or staged.
fn decide(host: &TestHost, image: u32, options: &[&str], is_staged: bool) {
    let image = host.image(image);
    let settings = options.iter().map(|text| text.parse().unwrap()).collect();
    let options = Options { settings, ..Options::default() };
    let current = host.site.deployments.installed(&host.name).unwrap();
    let previous = Previous::read(&host.site, &current, &image.0).unwrap();
    let planner = Planner {
        site: &host.site,
        tree: &image.0,
        image: &image.1,
        name: &host.name,
        options: &options,
        previous: Some(&previous),
    };
    let _lock = lock::container(host.site.root(), &host.name).unwrap();
    let _host_files = lock::host_files(host.site.root()).unwrap();
    let updater = Updater { planner, previous: &previous };
    if is_staged { updater.stage(false).unwrap() } else { updater.update().unwrap() }
}

fn settings(host: &TestHost, number: u32) -> Settings {
    host.site.deployments.info(&host.deployment(number)).unwrap().ours().unwrap().settings.clone()
}

/// web.0 runs version 1, web.1 is current with an option and was never started, and version 2 is staged as web.2.
fn undecided() -> TestHost {
    let host = TestHost::new();
    host.install(1).unwrap();
    host.start();
    decide(&host, 1, &["Label=a=b"], false);
    decide(&host, 2, &[], true);
    assert_eq!((host.current(), settings(&host, 2)), (Some(1), Settings::of(&["Label=a=b"])));
    host
}

#[test]
fn it_is_staged_and_tried_on_its_own() {
    let host = undecided();
    host.decide(&host.deployment(2), Fate::Fails);
    let error = switch(&host, 2, Purpose::Update).unwrap_err().to_string();
    let expected = "; web.0 is current again; web.1, which was not tried yet, is staged, and the next switch tries it on its own";
    assert!(error.ends_with(expected), "{error}");
    check(&host, "");
    assert_eq!((host.current(), state(&host).staged), (Some(0), Some(host.deployment(1))));
    assert_eq!(host.entries(), [".web.state", "web", "web.0", "web.1"]);
    // The image that failed is not tried again with the same options; what an update does is known beforehand.
    let failed = host.image(2);
    let updates = Updates::of(&host.site.deployments, &host.name).unwrap();
    assert_eq!(updates.prospect(&failed.1.digest), Prospect::Staged(host.deployment(1)));
    stage(&host, 2);
    assert_eq!(state(&host).staged, Some(host.deployment(1)));
    switch(&host, 1, Purpose::Update).unwrap();
    check(&host, "");
    assert_eq!((host.current(), settings(&host, 1)), (Some(1), Settings::of(&["Label=a=b"])));
    assert_eq!(state(&host).staged, None);
}

#[test]
fn it_is_kept_while_an_interrupted_switch_is_reverted() {
    let host = undecided();
    host.manager.interrupt_at(Duration::ZERO, SystemState::Stopping);
    switch(&host, 2, Purpose::Update).unwrap_err();
    let uses = crate::update::retention::of_container(&host.site, &host.name).unwrap();
    assert!(uses.iter().all(|(deployment, used)| used.is_some() || deployment.number() > 2), "{uses:?}");
    host.manager.reboot();
    host.decide(&host.deployment(2), Fate::Fails);
    boot(&host);
    check(&host, "");
    assert_eq!((host.current(), state(&host).staged), (Some(0), Some(host.deployment(1))));
}

#[test]
fn what_fails_itself_is_dropped_and_named() {
    let host = TestHost::new();
    host.install(1).unwrap();
    host.start();
    decide(&host, 1, &["Label=a=b", "StopTimeout=3"], true);
    host.decide(&host.deployment(1), Fate::Fails);
    let error = update(&host).unwrap_err().to_string();
    let expected = "; web.0 is current again; what was set for web.1 is gone with it: Label=, StopTimeout=";
    assert!(error.ends_with(expected), "{error}");
    assert_eq!((host.current(), state(&host).staged), (Some(0), None));
}

#[test]
fn nothing_is_said_to_be_gone_that_cannot_be_compared() {
    let host = undecided();
    let info = host.site.deployments.path_of(&host.deployment(1)).join("info");
    fs::write(info, "{").unwrap();
    host.decide(&host.deployment(2), Fate::Fails);
    let error = switch(&host, 2, Purpose::Update).unwrap_err().to_string();
    assert!(error.ends_with("the next switch tries it on its own"), "{error}");
}

#[test]
fn a_rollback_by_hand_gives_it_up() {
    let host = TestHost::new();
    host.install(1).unwrap();
    let mut state_file = state(&host);
    state_file.keep = Some(3);
    state_file.save(&host.site.deployments, &host.name).unwrap();
    decide(&host, 2, &[], false);
    host.start();
    decide(&host, 2, &["Label=a=b"], false);
    host.decide(&host.deployment(0), Fate::Fails);
    switch(&host, 0, Purpose::Rollback("by hand".into())).unwrap_err();
    assert_eq!((host.current(), state(&host).staged), (Some(1), None));
}

#[test]
fn a_service_that_waits_to_be_started_is_watched() {
    for (fate, current) in [(Fate::Fails, 0), (Fate::Runs, 1)] {
        let host = staged();
        host.manager.reboot();
        host.manager.let_wait("web.service");
        host.decide(&host.deployment(1), fate);
        assert_eq!(update(&host).is_ok(), fate == Fate::Runs);
        assert_eq!((host.current(), host.running()), (Some(current), Some(current)), "{fate:?}");
    }
}
