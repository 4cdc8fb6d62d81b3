//! Unit files and tmpfiles, and the values that templates put into them.

pub mod escape;
pub mod lines;
pub mod syntax;
pub mod tmpfiles;
pub mod user;
