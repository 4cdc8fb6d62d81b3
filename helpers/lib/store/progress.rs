//! What people, and the service manager, see of a pull.
//!
//! On a terminal each layer has a progress bar, elsewhere a line. The service manager gets `STATUS=`, and is told to extend
//! its timeout for as long as bytes arrive.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use libsystemd::daemon::{NotifyState, notify};
use oci_spec::image::Descriptor;

use super::pull::PullObserver;
use crate::digest;
use crate::program::bytes;
use crate::program::log;
use crate::system::notify::is_expected;

/// How long the service manager is to wait after the last sign of life.
const PATIENCE: Duration = Duration::from_secs(60);
/// Shortest time between two signs of life.
const INTERVAL: Duration = Duration::from_secs(1);

/// Shows what a pull is doing.
pub struct Progress {
    quiet: bool,
    /// Whether there are progress bars.
    bars: bool,
    /// Whether a service manager listens.
    managed: bool,
}

impl Progress {
    /// Chooses the form by what stderr is and by the environment. With `quiet`, only warnings are shown.
    pub fn new(quiet: bool) -> Self {
        let bars = !quiet && std::io::IsTerminal::is_terminal(&std::io::stderr());
        Progress { quiet, bars, managed: is_expected() }
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
        // As everywhere else, where indicatif would choose its own form.
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
        let (begin, told, done) = (Instant::now(), Arc::new(AtomicU64::new(0)), AtomicU64::new(0));
        Box::new(move |length| {
            bar.inc(length);
            let done = done.fetch_add(length, Ordering::Relaxed) + length;
            let now = begin.elapsed().as_millis() as u64;
            let last = told.load(Ordering::Relaxed);
            if managed && (last == 0 || now - last >= INTERVAL.as_millis() as u64) {
                told.store(now.max(1), Ordering::Relaxed);
                tell_manager(&format!("fetching layer {text}: {} of {total}", bytes::shown(done)));
            }
        })
    }

    fn fetched(&self, layer: &Descriptor) {
        if self.bars {
            self.line(&format!("fetched layer {} ({})", layer.digest(), bytes::shown(layer.size())));
        }
    }

    fn retrying(&self, text: &str) {
        self.line(text);
    }

    fn warning(&self, text: &str) {
        log::warning(text);
    }
}

/// The digest of a layer as people see it.
fn short(layer: &Descriptor) -> &str {
    digest::shorten(layer.digest().as_ref())
}

fn tell_manager(status: &str) {
    let patience = format!("EXTEND_TIMEOUT_USEC={}", PATIENCE.as_micros());
    // The pull goes on whether the service manager listens or not.
    let _ = notify(false, &[NotifyState::Status(status.to_owned()), NotifyState::Other(patience)]);
}
