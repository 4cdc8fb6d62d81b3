//! Which keys of the administrator's go with an image.

use crate::container::settings::{KEYS, READ_ONLY, Scope, Settings};
use crate::error::{Error, Result};
use crate::image::exports::Exports;

/// Fails for keys that would have no effect.
pub fn check(settings: &Settings, exports: &Exports) -> Result<()> {
    check_scopes(settings, exports.decider(), exports.is_run_once())
}

/// `decider` is the file that says how the payload is run, if the image brings one.
fn check_scopes(settings: &Settings, decider: Option<&str>, run_once: bool) -> Result<()> {
    let plain: Vec<_> = settings.of_scope(Scope::Plain).map(|key| format!("{key}=")).collect();
    if let Some(file) = decider.filter(|_| !plain.is_empty()) {
        let others = KEYS.iter().filter(|key| key.scope != Scope::Plain);
        let others: Vec<_> = others.map(|key| format!("{}=", key.name)).collect();
        return Err(Error::new(format!(
            "{file} says how its payload is run, so {} cannot be set; {} can",
            plain.join(", "),
            others.join(", ")
        )));
    }
    let is_written = if decider.is_none() { !settings.is_on(READ_ONLY) } else { run_once };
    match settings.of_scope(Scope::Written).next() {
        Some(key) if !is_written => Err(Error::new(format!(
            "{key}= limits what is written to the root file system, which is read-only; unset it with '-o {key}='"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(options: &[&str], decider: Option<&str>, run_once: bool) -> Result<()> {
        check_scopes(&Settings::of(options), decider, run_once)
    }

    #[test]
    fn what_has_no_effect_is_refused() {
        let (plain, image) = (None, Some("exports/config.json"));
        for (options, decider, run_once, is_good) in [
            (["ScratchSize=1G", "ReadOnly=no"].as_slice(), plain, false, true),
            (&["ScratchSize=1G", "ReadOnly=yes"], plain, false, false),
            (&["ScratchSize=1G"], image, true, true),
            (&["ScratchSize=1G"], image, false, false),
            (&["Label=a=b", "Notify=yes"], image, false, true),
            (&[], plain, false, true),
        ] {
            assert_eq!(checked(options, decider, run_once).is_ok(), is_good, "{options:?}");
        }
    }

    #[test]
    fn an_image_with_a_configuration_decides_itself() {
        let error =
            checked(&["User=1", "Exec=x", "Label=a=b"], Some("exports/config.json"), false).unwrap_err();
        let expected = "exports/config.json says how its payload is run, so Exec=, User= cannot be set; Label=, Notify=, Output=, ScratchSize=, StopSignal=, StopTimeout= can";
        assert_eq!(error.to_string(), expected);
    }
}
