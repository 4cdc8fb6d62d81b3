//! What is wrong with an image, or with the sources of one, before it is installed.
//!
//! The image goes through the pipeline of [`crate::image`], as in an installation, but on an imaginary host. Each module applies
//! the rules for one part of the result. Nothing is changed, nothing of the image is run, and whatever an image contains is a
//! finding, never a failure.
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
pub mod target;
mod texts;
mod unit;
mod variables;

pub use check::check;
pub use finding::{Finding, LintReport, Place};
