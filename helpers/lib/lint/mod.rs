//! What is wrong with an image, or with the sources of one, before anybody installs it.
//!
//! The image goes through the pipeline of [`crate::image`] as in an installation, for a host that is made up; one module for each
//! thing that is looked at says what is wrong with what comes of it. Nothing is changed, nothing of the image is run, and
//! whatever an image contains is a finding, never a failure.
//!
//! A new rule is an entry of [`rules`], a call of [`LintReport::add`] with it, and two fixtures in `tests/lint`.

mod check;
mod config;
mod config_rules;
mod dockerfile;
mod finding;
mod git;
mod inspection;
mod json;
mod limits;
mod manifest;
mod mounts;
pub mod remote;
pub mod rules;
pub mod subject;
mod texts;
mod unit;
mod variables;

pub use check::check;
pub use finding::{Finding, LintReport, Place};
