//! Numbers that nobody can guess.

use std::fs::File;
use std::io::Read;

use crate::error::{Context, Result};

/// Where they are from.
const RANDOM: &str = "/dev/urandom";

/// So many bytes.
pub fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let read = File::open(RANDOM).and_then(|mut file| file.read_exact(&mut bytes));
    read.context(|| format!("cannot read {RANDOM}")).map(|()| bytes)
}
