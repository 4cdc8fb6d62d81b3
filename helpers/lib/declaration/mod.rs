//! What an administrator or a package wants to be installed: `NAME.conf`, see syscontainer.conf(5).
//!
//! The generator reads declarations at every boot. So nothing here looks below /var, nothing that is broken hides what is
//! not, and files that a declaration names are left to whoever applies it.

pub mod choices;
mod declared;
pub mod files;
pub mod image;
pub mod keys;
pub mod parse;
mod source;
mod specifiers;
pub mod units;

pub use declared::Declaration;
