//! What every program has: its frame, messages, tables.

pub mod cli;
pub mod log;
pub mod options;
pub mod table;
pub mod timespan;
