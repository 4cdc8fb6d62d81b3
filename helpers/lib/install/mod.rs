//! Installing an image as a container, and removing it again.

pub mod acceptance;
pub mod atomic;
mod choices;
pub mod claim;
pub mod draft;
pub mod installer;
pub mod output;
pub mod plan;
pub mod preinstall;
pub mod preview;
pub mod previous;
pub mod recovery;
pub mod register;
mod remarks;
pub mod remover;
pub mod rootfs;
pub mod same;
pub mod site;
pub mod state_directories;
mod unset;
pub mod value_file;

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
