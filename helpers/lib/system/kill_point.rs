//! Points at which a test may have a program killed, to see that what it leaves is one of the two states that it may leave.
//!
//! Outside of unit tests these are nothing.

/// One step of a program that changes something is done, and the next one is not begun.
pub fn pass() {
    #[cfg(test)]
    testing::pass();
}

/// Killing the code under test: it unwinds without running any more of itself than destructors, as the kernel would.
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
            // Unlike a panic this prints nothing.
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
