//! Programs that are killed after every step.

use super::*;
use crate::system::kill_point::testing::kill_after;

/// Kills `declared.apply()` after every step, and then has the next one complete it.
fn killed_after_every_step(declared: impl Fn() -> Declared, check: impl Fn(&Declared, &str)) {
    let mut steps = 0;
    loop {
        let declared = declared();
        let start = Scope { start: true, ..Scope::default() };
        let is_done = kill_after(steps, || drop(declared.apply_with(start))).is_some();
        let when = format!("killed after step {steps}");
        declared.apply_with(start).unwrap_or_else(|e| panic!("{when}: {e}"));
        declared.host.check_consistent();
        assert!(declared.is_settled(), "{when}");
        check(&declared, &when);
        assert_eq!(declared.action(), Action::None, "{when}");
        if is_done {
            break;
        }
        steps += 1;
    }
    assert!(steps > 5, "{steps} steps");
}

#[test]
fn an_installation_killed_after_any_step_is_completed_by_the_next() {
    let host = || {
        let declared = one();
        declared.declare("Set=A=2\nKeep=3\n");
        declared
    };
    killed_after_every_step(host, |declared, when| {
        assert_eq!((declared.host.running(), declared.state().keep), (Some(0), Some(3)), "{when}");
    });
}

#[test]
fn an_update_killed_after_any_step_is_completed_by_the_next() {
    let host = || {
        let declared = Declared::new(|host| vec![host.image(1), other(host, 2)]);
        declared.declare("");
        declared.action();
        declared.host.start();
        declared.declare(&format!("{OTHER}Set=A=2\nSoakSec=1\n"));
        declared
    };
    killed_after_every_step(host, |declared, when| {
        assert_eq!(declared.info().image, "registry.example/other:1", "{when}");
        assert_eq!(declared.host.running(), declared.host.current(), "{when}");
    });
}
