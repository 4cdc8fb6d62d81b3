//! Images: what one says about its installation, and what that becomes for one deployment.

pub mod default_config;
pub mod exports;
pub mod json;
pub mod layout;
pub mod manifest;
mod metadata;
pub mod rendered;
pub mod template;
pub mod tree;
pub mod variables;

pub use metadata::Image;
