//! What an administrator or a package wants to be installed: `NAME.conf`, see syscontainer.conf(5).
//!
//! The generator reads declarations at every boot. So nothing here looks below /var, and nothing that is broken hides what
//! is not.

pub mod choices;
pub mod files;

use crate::declaration::choices::Choices;
use crate::declaration::files::Source;
use crate::name::Name;

/// A valid declaration, with its drop-ins.
#[derive(Clone, Debug)]
pub struct Declaration {
    /// Name of the container.
    pub name: Name,
    /// The files that it was read from.
    pub source: Source,
    /// What `[Container]` says.
    pub choices: Choices,
    /// Lines of `[Unit]`, `[Service]` and `[X-…]`, for the unit: section, key, value.
    pub unit: Vec<(String, String, String)>,
    /// Lines of `[Install]`, in order; an empty value resets its key.
    pub install: Vec<(String, String)>,
    /// What was ignored, each with its file and line.
    pub warnings: Vec<String>,
}
