//! Work that is not waited for longer than a limit, since somebody else decides how long it takes.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

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

/// The same for several pieces of work, none of which waits for another one: all have so long together.
pub fn each_within<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
    limit: Duration,
    work: impl Iterator<Item = F>,
) -> Vec<Option<T>> {
    let deadline = Instant::now() + limit;
    let (sender, receiver) = mpsc::channel();
    let mut count = 0;
    for (number, work) in work.enumerate() {
        let sender = sender.clone();
        thread::spawn(move || {
            let _ = sender.send((number, work()));
        });
        count = number + 1;
    }
    drop(sender);
    let left = || deadline.saturating_duration_since(Instant::now());
    let mut results: Vec<_> = (0..count).map(|_| None).collect();
    while let Ok((number, result)) = receiver.recv_timeout(left()) {
        results[number] = Some(result);
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_waits_for_another_one() {
        let (release, wait) = mpsc::channel::<()>();
        let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
        let work = |number: usize| {
            let wait = wait.clone();
            move || {
                if number == 0 {
                    let _ = wait.lock().unwrap().recv();
                }
                number
            }
        };
        let results = each_within(Duration::from_secs(2), (0..3).map(work));
        assert_eq!(results, [None, Some(1), Some(2)]);
        drop(release);
    }

    #[test]
    fn nobody_waits_longer() {
        assert_eq!(within(Duration::from_secs(60), || 1), Some(1));
        let (release, wait) = mpsc::channel::<()>();
        assert_eq!(within(Duration::from_millis(1), move || wait.recv().is_ok()), None);
        drop(release);
    }
}
