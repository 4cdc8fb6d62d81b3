//! Unit files.

pub mod syntax;
