//! Blobs of layers: decompressing them, and measuring what is read.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

/// How many bytes of a blob are read at once.
const BUFFER: usize = 256 << 10;
/// Largest window of zstd, as a power of two: a larger one would take more memory than a pull may.
const WINDOW: u32 = 25;

/// The content of a blob.
pub enum Unpacked<R: BufRead> {
    /// Not compressed.
    Plain(R),
    /// gzip, RFC 1952, of any number of members.
    Gzip(Box<MultiGzDecoder<R>>),
    /// zstd, RFC 8878.
    Zstd(Box<zstd::Decoder<'static, R>>),
}

/// Decompresses a blob according to its first bytes, since media types are not always right.
pub fn decompress<R: Read>(blob: R) -> io::Result<Unpacked<BufReader<R>>> {
    let mut blob = BufReader::with_capacity(BUFFER, blob);
    match blob.fill_buf()? {
        [0x1f, 0x8b, ..] => Ok(Unpacked::Gzip(Box::new(MultiGzDecoder::new(blob)))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder = zstd::Decoder::with_buffer(blob)?;
            decoder.window_log_max(WINDOW)?;
            Ok(Unpacked::Zstd(Box::new(decoder)))
        }
        _ => Ok(Unpacked::Plain(blob)),
    }
}

impl<R: BufRead> Unpacked<R> {
    /// The part that the decompressor has not read.
    pub fn into_rest(self) -> R {
        match self {
            Unpacked::Plain(blob) => blob,
            Unpacked::Gzip(decoder) => decoder.into_inner(),
            Unpacked::Zstd(decoder) => decoder.finish(),
        }
    }
}

impl<R: BufRead> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Unpacked::Plain(blob) => blob.read(buffer),
            Unpacked::Gzip(decoder) => decoder.read(buffer),
            Unpacked::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// Digest and length of all that was read through a [`Metered`].
#[derive(Clone, Default)]
pub struct Meter(Rc<RefCell<(Sha256, u64)>>);

/// A reader that measures what is read through it.
pub struct Metered<R> {
    inner: R,
    meter: Meter,
}

impl Meter {
    /// Measures what is read through the reader that is returned.
    pub fn new<R>(inner: R) -> (Meter, Metered<R>) {
        let meter = Meter::default();
        (meter.clone(), Metered { inner, meter })
    }

    /// Digest of what has been read.
    pub fn digest(&self) -> Digest {
        self.0.borrow().0.clone().into()
    }

    /// Length of what has been read.
    pub fn count(&self) -> u64 {
        self.0.borrow().1
    }
}

impl<R> Metered<R> {
    /// The reader that was measured.
    pub fn into_inner(self) -> R {
        self.inner
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        let mut state = self.meter.0.borrow_mut();
        state.0.update(&buffer[..length]);
        state.1 += length as u64;
        Ok(length)
    }
}

/// A reader that reports each read.
pub struct Observed<'a, R> {
    /// The reader.
    pub inner: R,
    /// Called with the size of every read.
    pub on_read: &'a dyn Fn(u64),
}

impl<R: Read> Read for Observed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        (self.on_read)(length as u64);
        Ok(length)
    }
}

/// A reader that fails when there is more than there may be.
pub struct Bounded<R> {
    inner: R,
    left: u64,
    refusal: String,
}

impl<R> Bounded<R> {
    /// Yields at most `limit` bytes; if there are more, the error is `refusal`.
    pub fn new(inner: R, limit: u64, refusal: String) -> Bounded<R> {
        Bounded { inner, left: limit, refusal }
    }

    /// The reader that was bounded.
    pub fn into_inner(self) -> R {
        self.inner
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)? as u64;
        let Some(left) = self.left.checked_sub(length) else {
            return Err(io::Error::other(self.refusal.clone()));
        };
        self.left = left;
        Ok(length as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn finds_the_compression_by_itself() {
        let content = b"content".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&content).unwrap();
        let zstd = zstd::encode_all(content.as_slice(), 1).unwrap();
        for blob in [content.clone(), gzip.finish().unwrap(), zstd] {
            let (meter, metered) = Meter::new(decompress(blob.as_slice()).unwrap());
            let mut found = Vec::new();
            let mut metered = metered;
            metered.read_to_end(&mut found).unwrap();
            assert!(found == content && meter.count() == 7000);
            let mut rest = Vec::new();
            metered.into_inner().into_rest().read_to_end(&mut rest).unwrap();
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn more_than_there_may_be_is_an_error() {
        let read = |length: usize, limit: u64| {
            let content = vec![7; length];
            let mut found = Vec::new();
            let mut bounded = Bounded::new(content.as_slice(), limit, "too much".into());
            bounded.read_to_end(&mut found).map_err(|e| e.to_string())
        };
        assert_eq!(read(1000, 1000), Ok(1000));
        assert_eq!(read(10, 1000), Ok(10));
        assert_eq!(read(1001, 1000), Err("too much".to_owned()));
        assert_eq!(read(1, 0), Err("too much".to_owned()));
    }
}
