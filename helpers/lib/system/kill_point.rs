//! Points at which unit tests can kill a program, to check that it leaves a consistent state behind.
//!
//! Outside of unit tests they do nothing.

/// Marks the end of one step that changed something, before the next one begins.
pub fn pass() {
    #[cfg(test)]
    testing::pass();
}

/// Kills the code under test by unwinding, so that none of it runs any longer except for destructors.
#[cfg(test)]
pub mod testing {
    use std::cell::Cell;
    use std::panic::{self, AssertUnwindSafe};

    thread_local! {
        static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    }

    struct Killed;

    pub(super) fn pass() {
        match LEFT.get() {
            // Unlike a panic, this prints nothing.
            Some(0) => panic::resume_unwind(Box::new(Killed)),
            Some(left) => LEFT.set(Some(left - 1)),
            None => {}
        }
    }

    /// Runs `work` and kills it after `steps` steps; `None` if that happened.
    pub fn kill_after<T>(steps: u32, work: impl FnOnce() -> T) -> Option<T> {
        LEFT.set(Some(steps));
        let result = panic::catch_unwind(AssertUnwindSafe(work));
        LEFT.set(None);
        match result {
            Ok(value) => Some(value),
            Err(payload) if payload.is::<Killed>() => None,
            Err(payload) => panic::resume_unwind(payload),
        }
    }
}
