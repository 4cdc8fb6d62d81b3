//! What every program has: its frame, its table of options, messages, and forms of data for people.

pub mod bytes;
pub mod cli;
pub mod log;
pub mod options;
pub mod table;
pub mod timespan;
