//! What every program has: its frame, messages, and forms of data for people.

pub mod bytes;
pub mod cli;
pub mod log;
pub mod table;
pub mod timespan;
