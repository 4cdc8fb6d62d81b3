//! Images: from what one says about its installation to what a deployment will hold.
//!
//! That is a pipeline of four steps, which install a real image for a host and its user, and lint for a host that it makes up.
//! None of them writes anything, and none asks systemd:
//!
//! 1. [`exports`] reads `/exports` of a [`tree::Tree`]: `Exports`, templates and [`manifest`].
//! 2. [`variables`] completes the values that the user set for an [`installation::Installation`]: `Values`.
//! 3. [`render`] fills the templates with them: `Rendered`, texts with every problem in them. [`template`] knows the syntax,
//!    [`json`] and [`crate::unit::escape`] what may stand where; [`layout`] finds out where files for the host go.
//! 4. [`check`] parses the texts, and makes what the image left out: `Checked`. [`generated_config`] makes a configuration.
//!
//! An image is described by [`Image`].

pub mod check;
pub mod exports;
pub mod generated_config;
pub mod installation;
pub mod json;
pub mod layout;
pub mod manifest;
mod metadata;
pub mod render;
pub mod template;
pub mod tree;
pub mod variables;

pub use metadata::Image;
