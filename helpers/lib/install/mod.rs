//! Installations: from an image to a registered container, and back.

pub mod atomic;
#[cfg(feature = "store")]
pub mod draft;
#[cfg(feature = "store")]
pub mod installer;
#[cfg(feature = "store")]
pub mod plan;
#[cfg(feature = "store")]
pub mod preview;
pub mod recovery;
pub mod register;
pub mod remover;
pub mod state_directories;
