//! What all programs have in common: the frame of `main`, options, messages, and formatting for people.

pub mod bytes;
pub mod cli;
pub mod credentials;
pub mod log;
pub mod options;
pub mod reference;
pub mod table;
pub mod text;
pub mod timespan;
pub mod timestamp;
pub mod transports;
