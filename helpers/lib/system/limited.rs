//! Work that is not waited for longer than a limit, since somebody else decides how long it takes.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Does something that can be given up at any time; `None` if it took longer, and goes on until this process ends.
pub fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    let worker = thread::spawn(move || {
        // Whoever waited for it may be gone.
        let _ = sender.send(work());
    });
    match receiver.recv_timeout(limit) {
        Ok(result) => Some(result),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => {
            // It panicked, and so does this.
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_longer() {
        assert_eq!(within(Duration::from_secs(60), || 1), Some(1));
        let (release, wait) = mpsc::channel::<()>();
        assert_eq!(within(Duration::from_millis(1), move || wait.recv().is_ok()), None);
        drop(release);
    }
}
