//! Units of containers that have none of their own: they report why.

use crate::container::derived::MARKER;
use crate::container::units::{HEADER, RECONCILE, start_conditions};
use crate::error::Result;
use crate::name::Name;
use crate::paths::TreePath;
use crate::program::log;
use crate::unit::syntax::{Value, Writer};

/// Exit status of a broken unit: EX_CONFIG, sysexits(3).
const BROKEN: u8 = 78;
/// How many characters of a reason are shown, which may quote the file that is broken.
const REASON_MAX: usize = 500;

/// A stub for [`body`]; an empty file would mask the unit.
pub fn bare_stub(name: &Name) -> String {
    format!("# {HEADER}\n[Unit]\n{MARKER}={name}\n")
}

/// Composes the body for an invalid registration `source`: a service that prints the reason and fails.
pub fn body(name: &Name, source: &TreePath, reason: &str) -> Result<String> {
    // Everybody can read it, so it is without what messages do not show either.
    let reason: String = log::line(reason).chars().take(REASON_MAX).collect();
    let reason = reason.trim_end_matches('\\');
    let mut writer = Writer::new(HEADER);
    writer.set("Unit", "SourcePath", Value::Path(source.as_path()))?;
    writer.set("Unit", "Description", Value::Text(&format!("{name} (broken: {reason})")))?;
    start_conditions(&mut writer, RECONCILE)?;
    writer.set("Service", "Type", Value::Raw("oneshot"))?;
    fail(&mut writer, &format!("cannot start {name}: {reason}"))?;
    Ok(writer.finish())
}

/// Composes a drop-in for the unit of a container whose storage is not there, as far as is known: its start judges that again.
pub fn absent(name: &Name, why: &str) -> Result<String> {
    let why: String = log::line(why).chars().take(REASON_MAX).collect();
    let mut writer = Writer::new(HEADER);
    writer.set("Unit", "Description", Value::Text(&format!("{name} (not there: {why})")))?;
    Ok(writer.finish())
}

/// A start that prints a message and fails.
pub fn fail(writer: &mut Writer, message: &str) -> Result<()> {
    let script = format!("printf '%s\\n' \"$1\" >&2; exit {BROKEN}");
    writer.set("Service", "ExecStart", Value::Exec("", &["/bin/sh", "-c", &script, "sh", message]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_is_told_without_credentials() {
        let reason = "/x.json: cannot use \"docker://user:hunter2@r.io/x\"\nnor token:hunter2@r.io";
        let body = body(&"web".parse().unwrap(), &TreePath::from("/x.json"), reason).unwrap();
        assert!(!body.contains("hunter2"), "{body}");
        let shown = "(broken: /x.json: cannot use \"docker://***@r.io/x\"\\nnor ***@r.io)\n";
        assert!(body.contains(shown), "{body}");
    }
}
