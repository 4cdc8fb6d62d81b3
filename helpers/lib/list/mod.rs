//! The containers and the images of this host, as text and as JSON.

pub mod containers;
pub mod images;
pub mod prospect;
