//! A blob on its way from skopeo to its consumer, which run in different threads: how much has arrived, and how long it
//! was waited for. What the consumer does with it meanwhile, such as writing to a slow disk, is not the source's fault.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::pace::{Pace, Patience};
use crate::error::Result;

/// What is known about a stream.
#[derive(Clone, Default)]
pub struct Stream(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    arrived: u64,
    waited: Duration,
    /// Since when the consumer has been waiting, if it is.
    waiting: Option<Instant>,
    /// When it stopped reading, and whether it had reached the end.
    ended: Option<(Instant, bool)>,
}

/// What is to be done about the process that writes to a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is to be waited for.
    Wait,
    /// Nobody reads what it writes any longer.
    Unwanted,
}

impl Stream {
    /// The reader that the consumer gets.
    pub fn reader<R>(&self, inner: R) -> StreamReader<R> {
        StreamReader { inner, stream: self.clone() }
    }

    /// Judges the process that writes to it; fails if it is too slow.
    pub fn judge(&self, patience: Patience, pace: &mut Pace) -> Result<Verdict> {
        let state = self.state();
        match state.ended {
            Some((_, false)) => Ok(Verdict::Unwanted),
            // It has nothing to do but to say whether all was well.
            Some((since, true)) => {
                Pace::new(patience).check_average(since.elapsed(), 0).map(|()| Verdict::Wait)
            }
            None => {
                let waited = state.waited + state.waiting.map_or(Duration::ZERO, |since| since.elapsed());
                pace.check_idle(waited, state.arrived)?;
                pace.check_average(waited, state.arrived)?;
                Ok(Verdict::Wait)
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, is_complete: bool) {
        self.state().ended.get_or_insert((Instant::now(), is_complete));
    }
}

/// The consumer's end of a stream.
pub struct StreamReader<R> {
    inner: R,
    stream: Stream,
}

impl<R: Read> Read for StreamReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let begin = Instant::now();
        self.stream.state().waiting = Some(begin);
        let result = self.inner.read(buffer);
        let mut state = self.stream.state();
        state.waiting = None;
        state.waited += begin.elapsed();
        state.arrived += *result.as_ref().unwrap_or(&0) as u64;
        drop(state);
        if matches!(result, Ok(0)) && !buffer.is_empty() {
            self.stream.end(true);
        }
        result
    }
}

impl<R> Drop for StreamReader<R> {
    fn drop(&mut self) {
        self.stream.end(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { idle: Duration::from_millis(50) };

    #[test]
    fn only_the_time_that_is_waited_counts() {
        let (stream, mut pace) = (Stream::default(), Pace::new(PATIENCE));
        let mut reader = stream.reader(&b"ab"[..]);
        assert_eq!(reader.read(&mut [0]).unwrap(), 1);
        std::thread::sleep(3 * PATIENCE.idle);
        assert_eq!(stream.judge(PATIENCE, &mut pace).unwrap(), Verdict::Wait);
        stream.state().waiting = Some(Instant::now());
        std::thread::sleep(3 * PATIENCE.idle);
        assert!(stream.judge(PATIENCE, &mut pace).is_err());
    }

    #[test]
    fn readers_end_by_themselves_or_before_the_end() {
        let (stream, mut pace) = (Stream::default(), Pace::new(PATIENCE));
        drop(stream.reader(&b"ab"[..]));
        assert_eq!(stream.judge(PATIENCE, &mut pace).unwrap(), Verdict::Unwanted);
        let stream = Stream::default();
        let mut reader = stream.reader(&b"ab"[..]);
        io::copy(&mut reader, &mut io::sink()).unwrap();
        drop(reader);
        assert_eq!(stream.judge(PATIENCE, &mut pace).unwrap(), Verdict::Wait);
        assert_eq!(stream.state().arrived, 2);
        // But not forever, should skopeo have no more to say.
        std::thread::sleep(3 * PATIENCE.idle);
        assert!(stream.judge(PATIENCE, &mut pace).is_err());
    }
}
