//! What an image says about its installation.

#[cfg(feature = "store")]
pub mod default_config;
#[cfg(feature = "store")]
pub mod exports;
#[cfg(feature = "store")]
pub mod layout;
pub mod manifest;
#[cfg(feature = "store")]
pub mod rendered;
pub mod template;
#[cfg(feature = "store")]
pub mod tree;
pub mod variables;
