//! Unit files, and the values that templates put into them and into tmpfiles.

pub mod escape;
mod lines;
pub mod syntax;
