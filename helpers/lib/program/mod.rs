//! What every program has: its frame, its table of options, messages, and tables for people.

pub mod cli;
pub mod log;
pub mod options;
pub mod table;
pub mod timespan;
