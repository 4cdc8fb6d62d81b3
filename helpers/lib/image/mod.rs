//! Images: from what an image says about its installation to the content of a deployment.
//!
//! This is a pipeline of four steps, which installations run for a host and its user. Lint runs the first three for an
//! imaginary host, and in place of the last one reports everything that is wrong with their results. None of the steps
//! writes anything or asks systemd:
//!
//! 1. [`exports`] reads `/exports` of a [`tree::Tree`]: `Exports`, templates and [`manifest`].
//! 2. [`variables`] completes the values that the user set for an [`installation::Installation`]: `Values`.
//! 3. [`render`] fills the templates with them: `Rendered`, texts with all problems in them. [`template`] knows the syntax,
//!    [`json`] and [`crate::unit::escape`] which values are allowed where; [`layout`] finds out where host files go, and [`secrets`]
//!    which values must not get there.
//! 4. [`check`] parses the texts, and makes up for what the image left out: `Checked`. [`generated_config`] makes a
//!    configuration, in which [`overrides`] and [`grants`] put what the administrator wants.
//!
//! What an image may decide the size of has its bounds in [`limits`]. An image is described by [`Image`].

pub mod binds;
pub mod check;
pub mod command;
pub mod config_secrets;
pub mod exports;
pub mod generated_config;
pub mod grants;
pub mod installation;
pub mod json;
pub mod kernel;
pub mod layout;
pub mod limits;
pub mod lookup;
pub mod manifest;
mod metadata;
pub mod options;
pub mod overrides;
mod place;
pub mod platform;
pub mod positions;
pub mod problems;
pub mod profile;
pub mod render;
pub mod secrets;
pub mod service;
pub mod systemd;
pub mod template;
pub mod tree;
pub mod user;
pub mod variables;

pub use metadata::Image;
