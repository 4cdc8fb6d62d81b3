//! Programs that are killed after every step of every phase.

use super::*;
use crate::container::derived;
use crate::system::kill_point::testing::kill_after;
use crate::system::systemd::manager::{Manager, Verb};

/// Runs `work` on fresh hosts, killed after each of its steps, and then `after`.
fn killed_after_every_step(
    host: impl Fn() -> TestHost,
    work: impl Fn(&TestHost),
    after: impl Fn(&TestHost, &str),
) {
    let mut steps = 0;
    loop {
        let host = host();
        let is_done = kill_after(steps, || work(&host)).is_some();
        after(&host, &format!("killed after step {steps}"));
        if is_done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 5, "{steps} steps");
}

/// Kills an update after each of its steps, and then has `recovery` bring the container back, which only a deployment that
/// runs may survive.
fn update_killed_after_every_step(fate: Fate, recovery: impl Fn(&TestHost)) {
    let host = || {
        let host = staged();
        host.decide(&host.deployment(1), fate);
        host
    };
    killed_after_every_step(
        host,
        |host| drop(update(host)),
        |host, when| {
            recovery(host);
            check(host, when);
            assert!(fate == Fate::Runs || host.current() == Some(0), "{when}");
        },
    );
}

#[test]
fn an_update_killed_after_any_step_is_reverted_or_complete() {
    for fate in [Fate::Runs, Fate::Fails, Fate::Dies(SOAK / 2)] {
        update_killed_after_every_step(fate, |host| drop(recover(host)));
    }
}

#[test]
fn an_update_interrupted_by_a_power_failure_gets_one_boot() {
    for fate in [Fate::Runs, Fate::Fails] {
        update_killed_after_every_step(fate, boot);
    }
}

#[test]
fn a_trial_killed_after_any_step_is_over_after_another_boot() {
    for fate in [Fate::Runs, Fate::Fails, Fate::Dies(SOAK / 2)] {
        let host = || {
            let host = staged();
            host.manager.interrupt_at(SOAK / 3, SystemState::Stopping);
            assert!(update(&host).unwrap_err().to_string().contains("the next boot"));
            host.decide(&host.deployment(1), fate);
            host
        };
        killed_after_every_step(host, boot, |host, when| {
            boot(host);
            check(host, when);
            assert!(fate == Fate::Runs || host.current() == Some(0), "{when}");
        });
    }
}

#[test]
fn an_image_that_failed_is_remembered_though_its_stop_was_interrupted() {
    let host = staged();
    host.decide(&host.deployment(1), Fate::Dies(SOAK / 2));
    let is_stopped = |steps: &u32| {
        let host = staged();
        host.decide(&host.deployment(1), Fate::Dies(SOAK / 2));
        kill_after(*steps, || drop(update(&host)));
        host.manager.calls.borrow().iter().any(|call| call == "stop web.service")
    };
    let steps = (0..200).find(is_stopped).unwrap();
    kill_after(steps, || drop(update(&host)));
    recover(&host);
    check(&host, "");
    assert_eq!(state(&host).failed.len(), 1);
}

#[test]
fn a_revert_killed_after_any_step_is_continued() {
    // The first step at which the update is already being watched.
    let is_watched = |steps: &u32| {
        let host = staged();
        kill_after(*steps, || update(&host));
        state(&host).switch.is_some_and(|switch| switch.phase == Phase::Watch)
    };
    let steps = (0..100).find(is_watched).unwrap();
    let host = || {
        let host = staged();
        kill_after(steps + 1, || update(&host));
        host
    };
    killed_after_every_step(
        host,
        |host| drop(recover(host)),
        |host, when| {
            recover(host);
            check(host, when);
            assert_eq!(host.current(), Some(0), "{when}");
        },
    );
}

#[test]
fn a_rollback_killed_after_any_step_is_reverted_or_complete() {
    let host = || {
        let host = staged();
        update(&host).unwrap();
        host
    };
    let roll_back = |host: &TestHost| drop(switch(host, 0, Purpose::Rollback("by hand".into())));
    killed_after_every_step(host, roll_back, |host, when| {
        recover(host);
        check(host, when);
    });
}

#[test]
fn a_rollback_to_what_fails_killed_after_any_step_is_reverted() {
    for fate in [Fate::Fails, Fate::Dies(SOAK / 2)] {
        let host = || {
            let host = staged();
            update(&host).unwrap();
            host.decide(&host.deployment(0), fate);
            host
        };
        let roll_back = |host: &TestHost| drop(switch(host, 0, Purpose::Rollback("by hand".into())));
        killed_after_every_step(host, roll_back, |host, when| {
            recover(host);
            check(host, when);
            assert_eq!(host.current(), Some(1), "{when}");
        });
    }
}

#[test]
fn an_update_to_an_image_without_a_service_killed_after_any_step_is_reverted_or_complete() {
    let host = || {
        let host = TestHost::new();
        host.install(1).unwrap();
        host.start();
        let image = host.image_without_service(2);
        with_updater_to(&host, &image, |updater| updater.stage(false).unwrap());
        host
    };
    killed_after_every_step(
        host,
        |host| update(host).unwrap(),
        |host, when| {
            recover(host);
            assert_eq!(state(host).switch, None, "{when}");
            let is_updated = host.current() == Some(1);
            assert_eq!(host.running(), (!is_updated).then_some(0), "{when}");
            let has_unit = derived::has_service(host.site.root(), &host.name);
            assert_eq!(has_unit, !is_updated, "{when}");
            if !is_updated {
                host.check_consistent();
            }
        },
    );
}

#[test]
fn an_update_killed_after_any_step_leaves_what_needs_the_service_as_it_was() {
    for fate in [Fate::Runs, Fate::Fails, Fate::Dies(SOAK / 2)] {
        let host = || {
            let host = staged();
            host.manager.add_dependent("user.service", &host.name.unit());
            host.manager.queue(Verb::Start, &["user.service".to_owned()]).unwrap();
            host.decide(&host.deployment(1), fate);
            host
        };
        let update = |host: &TestHost| drop(update(host));
        killed_after_every_step(host, update, |host, when| {
            recover(host);
            check(host, when);
            assert_eq!(host.manager.state_of("user.service"), "active", "{when}");
        });
    }
}

#[test]
fn an_update_at_once_killed_after_any_step_is_there_or_not() {
    let host = || {
        let host = TestHost::new();
        host.install(1).unwrap();
        host.start();
        host
    };
    let update = |host: &TestHost| with_updater(host, 2, |updater| updater.update().unwrap());
    killed_after_every_step(host, update, |host, when| {
        recover(host);
        host.check_consistent();
        assert_eq!(state(host).switch, None, "{when}");
        // The service keeps running the deployment that it was started with.
        assert_eq!(host.running(), Some(0), "{when}");
        update(host);
        host.check_consistent();
        assert_ne!(host.current(), Some(0), "{when}");
    });
}

#[test]
fn staging_killed_after_any_step_is_done_again() {
    let host = || {
        let host = TestHost::new();
        host.install(1).unwrap();
        host.start();
        host
    };
    let mut steps = 0;
    loop {
        let host = host();
        let is_done = kill_after(steps, || stage(&host, 2)).is_some();
        recover(&host);
        check(&host, "");
        stage(&host, 2);
        let staged = state(&host).staged.unwrap();
        assert!(host.site.deployments.is_deployment(&staged), "killed after step {steps}");
        switch(&host, staged.number(), Purpose::Update).unwrap();
        check(&host, "");
        if is_done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 5, "{steps} steps");
}
