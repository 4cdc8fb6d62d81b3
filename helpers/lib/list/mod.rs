//! What is there, as text and as JSON.

pub mod containers;
pub mod images;
