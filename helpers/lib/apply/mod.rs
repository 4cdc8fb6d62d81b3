//! Making the host what its declarations say, syscontainer.conf(5).
//!
//! `select` finds the declarations, `wanted` reads what one of them wants, `task` compares that with what is installed, which is
//! all that decides, and `carry_out` does it. Killed anywhere, the next one completes it: what was applied is recorded last.

pub mod carry_out;
mod configure;
pub mod fetch;
pub mod gone;
pub mod images;
pub mod print;
pub mod row;
pub mod select;
pub mod task;
pub mod wanted;

#[cfg(test)]
mod tests;
