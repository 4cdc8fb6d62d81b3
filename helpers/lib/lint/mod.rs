//! What is wrong with an image, or with the sources of one, before it is installed.
//!
//! The image goes through the pipeline of [`crate::image`], as in an installation, but on an imaginary host. Each
//! module applies the rules for one part of the result. Nothing is changed and nothing of the image is run. Whatever is
//! wrong with an image is a finding, never a failure.
//!
//! A directory of sources may be anybody's. It is read through [`source_tree`] only, and no program is started in it, or
//! reads its configuration from it: git, too, is read and not run.
//!
//! A new rule is an entry of [`rules`], a call of [`LintReport::add`] with it, and two fixtures in `tests/lint`.

mod check;
mod config;
mod config_rules;
pub mod declaration;
mod dockerfile;
mod finding;
mod git;
mod git_index;
mod inspection;
mod json;
mod keys;
mod limits;
mod manifest;
mod mounts;
mod profile;
pub mod remote;
pub mod rules;
mod source_tree;
pub mod target;
mod texts;
mod unit;
mod variables;

pub use check::check;
pub use finding::{Finding, LintReport, Place};
