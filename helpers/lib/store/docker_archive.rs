//! Archives that `docker save` writes: what the image in one is called.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

/// Largest manifest.json that is read.
const MANIFEST_MAX: u64 = 4 << 20;

/// The first tag of the last image in an archive, which is the one that Atomic took; `None` if it has no tag.
pub fn first_tag(file: &Path) -> Result<Option<String>, Box<dyn Error + Send + Sync>> {
    let mut reader = BufReader::new(File::open(file)?);
    let is_gzip = reader.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    let reader: Box<dyn Read> = if is_gzip { Box::new(GzDecoder::new(reader)) } else { Box::new(reader) };
    for entry in tar::Archive::new(reader).entries()? {
        let entry = entry?;
        if &*entry.path_bytes() == b"manifest.json" {
            let manifest: serde_json::Value = serde_json::from_reader(entry.take(MANIFEST_MAX))?;
            let last = manifest.as_array().and_then(|images| images.last());
            let tag = last.and_then(|image| image.pointer("/RepoTags/0")).and_then(|tag| tag.as_str());
            return Ok(tag.map(str::to_owned));
        }
    }
    Err("it has no manifest.json, so it is not a docker archive".into())
}
