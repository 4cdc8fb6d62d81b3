//! The progress of a pull, for users and for the service manager.
//!
//! On a terminal, each layer has a progress bar, elsewhere a line. The service manager gets `STATUS=`, and is asked to
//! extend its timeout for as long as bytes arrive.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use libsystemd::daemon::{NotifyState, notify};
use oci_spec::image::Descriptor;

use super::pace;
use super::pull::PullObserver;
use crate::digest;
use crate::program::bytes;
use crate::program::log;
use crate::system::notify::is_expected;

/// How long the service manager is asked to wait after the last sign of life.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a pull may take at most before the service manager is no longer asked, whatever arrives. A prune waits for
/// pulls, and how long it waits is not for a registry to decide. What arrived completely is there for the next pull.
const LONGEST: Duration = Duration::from_secs(6 * 3600);
/// Minimum time between two signs of life.
const INTERVAL: Duration = Duration::from_secs(1);

/// Shows what a pull is doing.
pub struct Progress {
    quiet: bool,
    /// Whether there are progress bars.
    bars: bool,
    /// Whether there is a service manager to notify.
    managed: bool,
    begin: Instant,
    copy: SignsOfLife,
}

/// What the service manager was told about last. It is only told about progress that deserves the name, since each sign
/// of life extends its timeout.
#[derive(Default)]
struct SignsOfLife {
    milliseconds: AtomicU64,
    bytes: AtomicU64,
}

impl SignsOfLife {
    /// Whether it is time for the next one, and whether enough has arrived since the last one to deserve more time; the
    /// first byte does not.
    fn next(&self, now: Duration, bytes: u64) -> Option<bool> {
        let now = (now.as_millis() as u64).max(1);
        let last = self.milliseconds.load(Ordering::Relaxed);
        let is_first = last == 0 && bytes > 0;
        let since = now.saturating_sub(last);
        if !is_first && since < INTERVAL.as_millis() as u64 {
            return None;
        }
        let arrived = bytes.saturating_sub(self.bytes.load(Ordering::Relaxed));
        self.milliseconds.store(now, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        Some(!is_first && arrived > 0 && arrived >= pace::RATE * since / 1000)
    }
}

impl Progress {
    /// Chooses the form by what stderr is and by the environment. With `quiet`, only warnings are shown.
    pub fn new(quiet: bool) -> Self {
        let bars = !quiet && std::io::IsTerminal::is_terminal(&std::io::stderr());
        let (begin, copy) = (Instant::now(), SignsOfLife::default());
        Progress { quiet, bars, managed: is_expected(), begin, copy }
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            log::info(text);
        }
    }

    fn bar(&self, layer: &Descriptor) -> ProgressBar {
        let target = if self.bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(layer.size()), target);
        let template = "{msg} {wide_bar} {bytes}/{total_bytes} {eta}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        // In the same format as everywhere else, instead of indicatif's own.
        let style = style.with_key("bytes", |state: &ProgressState, text: &mut dyn Write| {
            let _ = text.write_str(&bytes::shown(state.pos()));
        });
        let style = style.with_key("total_bytes", |state: &ProgressState, text: &mut dyn Write| {
            let _ = text.write_str(&bytes::shown(state.len().unwrap_or_default()));
        });
        bar.set_style(style);
        bar.set_message(short(layer).to_owned());
        bar
    }
}

impl PullObserver for Progress {
    fn present(&self, layer: &Descriptor) {
        self.line(&format!("layer {} already exists", layer.digest()));
    }

    fn fetching(&self, layer: &Descriptor) -> Box<dyn Fn(u64) + Send> {
        if !self.bars {
            self.line(&format!("fetching layer {} ({})", layer.digest(), bytes::shown(layer.size())));
        }
        let (bar, managed) = (self.bar(layer), self.managed);
        let (text, total) = (short(layer).to_owned(), bytes::shown(layer.size()));
        let (begin, life, done) = (Instant::now(), SignsOfLife::default(), AtomicU64::new(0));
        let before = self.begin.elapsed();
        Box::new(move |length| {
            bar.inc(length);
            let done = done.fetch_add(length, Ordering::Relaxed) + length;
            if let Some(is_alive) = life.next(begin.elapsed(), done).filter(|_| managed) {
                let status = format!("fetching layer {text}: {} of {total}", bytes::shown(done));
                tell_manager(&status, is_alive, before + begin.elapsed());
            }
        })
    }

    fn fetched(&self, layer: &Descriptor) {
        if self.bars {
            self.line(&format!("fetched layer {} ({})", layer.digest(), bytes::shown(layer.size())));
        }
    }

    fn copying(&self, bytes: u64) {
        if let Some(is_alive) = self.copy.next(self.begin.elapsed(), bytes).filter(|_| self.managed) {
            let status = format!("copying the image: {}", bytes::shown(bytes));
            tell_manager(&status, is_alive, self.begin.elapsed());
        }
    }

    fn retrying(&self, text: &str) {
        self.line(text);
    }

    fn warning(&self, text: &str) {
        log::warning(text);
    }
}

/// The short form of a layer's digest.
fn short(layer: &Descriptor) -> &str {
    digest::shorten(layer.digest().as_ref())
}

/// How long the service manager is asked to wait, of a pull that began so long ago.
fn extension(begun: Duration) -> Option<Duration> {
    Some(LONGEST.saturating_sub(begun).min(PATIENCE)).filter(|extension| !extension.is_zero())
}

fn tell_manager(status: &str, is_alive: bool, begun: Duration) {
    let patience = extension(begun).filter(|_| is_alive);
    let patience =
        patience.map(|time| NotifyState::Other(format!("EXTEND_TIMEOUT_USEC={}", time.as_micros())));
    let states = [Some(NotifyState::Status(status.to_owned())), patience];
    // The pull continues whether the service manager is reached or not.
    let _ = notify(false, &states.into_iter().flatten().collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_progress_extends_timeouts_for_ever() {
        assert_eq!(extension(Duration::ZERO), Some(PATIENCE));
        assert_eq!(extension(LONGEST - PATIENCE / 2), Some(PATIENCE / 2));
        assert_eq!(extension(LONGEST), None);
        assert_eq!(extension(LONGEST * 2), None);
        let page = include_str!("../../syscontainer-pull.8");
        let hours = LONGEST.as_secs() / 3600;
        assert!(page.contains(&format!("{hours} hours")), "syscontainer-pull(8) does not say {hours} hours");
    }

    #[test]
    fn only_progress_extends_timeouts() {
        let (life, second) = (SignsOfLife::default(), Duration::from_secs(1));
        assert_eq!(life.next(second / 4, 0), None);
        assert_eq!(life.next(second / 2, 1), Some(false));
        assert_eq!(life.next(second, 1 << 20), None, "too soon");
        assert_eq!(life.next(second * 2, 1 << 20), Some(true));
        for drip in 1..100 {
            assert_eq!(
                life.next(second * (2 + drip), (1 << 20) + u64::from(drip)),
                Some(false),
                "{drip} bytes"
            );
        }
        assert_eq!(life.next(second * 200, (1 << 20) + 100), Some(false));
        assert_eq!(life.next(second * 201, 2 << 20), Some(true));
    }
}
