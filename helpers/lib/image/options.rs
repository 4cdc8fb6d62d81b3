//! Options of the administrator's about the root file system, which do not go with every image, nor with each other.

use crate::container::settings::{READ_ONLY, SCRATCH_SIZE, Settings};
use crate::error::{Error, Result};

/// Fails for options that would have no effect. `confined` is whether the image brings no configuration, and `run_once`
/// whether it runs once.
pub fn check(settings: &Settings, confined: bool, run_once: bool) -> Result<()> {
    let is_set = |key: &str| settings.last(key).is_some();
    let is_written = if confined { !settings.is_on(READ_ONLY) } else { run_once };
    if is_set(SCRATCH_SIZE) && !is_written {
        return Err(Error::new(format!(
            "{SCRATCH_SIZE}= limits what is written to the root file system, which is read-only; unset it with '-o {SCRATCH_SIZE}='"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(options: &[&str], confined: bool, run_once: bool) -> Result<()> {
        check(&Settings::of(options), confined, run_once)
    }

    #[test]
    fn what_has_no_effect_is_refused() {
        for (options, confined, run_once, is_good) in [
            (["ScratchSize=1G", "ReadOnly=no"].as_slice(), true, false, true),
            (&["ScratchSize=1G", "ReadOnly=yes"], true, false, false),
            (&["ScratchSize=1G"], false, true, true),
            (&["ScratchSize=1G"], false, false, false),
            (&[], false, false, true),
        ] {
            assert_eq!(checked(options, confined, run_once).is_ok(), is_good, "{options:?}");
        }
    }
}
