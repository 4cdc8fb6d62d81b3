//! `StopSignal=` and `StopTimeout=`: how a payload is stopped.

use crate::error::{Error, Result};
use crate::program::timespan;
use crate::signal;

/// [`crate::container::settings::Key::check`] of signals.
pub fn check_signal(text: &str) -> Result<()> {
    let why = || Error::new("it is not a signal; write it as SIGINT, INT or 2");
    signal::number(text).map(|_| ()).ok_or_else(why)
}

/// [`crate::container::settings::Key::check`] of times.
pub fn check_timeout(text: &str) -> Result<()> {
    if timespan::parse(text)?.is_zero() {
        // systemd takes it for infinity.
        return Err(Error::new("a payload needs time to end; write 'infinity' for no limit"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::container::settings::Assignment;

    #[test]
    fn signals_and_times_are_checked() {
        for good in
            ["StopSignal=SIGRTMIN+3", "StopSignal=int", "StopTimeout=1min 30s", "StopTimeout=infinity"]
        {
            good.parse::<Assignment>().unwrap();
        }
        for (bad, why) in [
            (
                "StopSignal=SIGNOTHING",
                "invalid StopSignal=SIGNOTHING: it is not a signal; write it as SIGINT, INT or 2",
            ),
            (
                "StopTimeout=0",
                "invalid StopTimeout=0: a payload needs time to end; write 'infinity' for no limit",
            ),
            ("StopTimeout=soon", "invalid StopTimeout=soon: invalid time span \"soon\""),
            ("stopsignal=INT", "there is no key \"stopsignal\"; did you mean StopSignal=?"),
        ] {
            let error = bad.parse::<Assignment>().unwrap_err().to_string();
            assert!(error.starts_with(why), "{error}");
        }
    }
}
