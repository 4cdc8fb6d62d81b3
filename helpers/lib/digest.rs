//! SHA-256 digests of images, layers and files: `sha256:` and 64 hexadecimal digits.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use oci_spec::image::{self, DigestAlgorithm, Sha256Digest};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// How many hexadecimal digits a short form has.
const SHORT: usize = 12;

/// A digest as in the OCI image specification, with SHA-256 as its only algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "image::Digest", try_from = "String")]
pub struct Digest(image::Digest);

impl PartialOrd for Digest {
    fn partial_cmp(&self, other: &Digest) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Digest {
    fn cmp(&self, other: &Digest) -> std::cmp::Ordering {
        self.as_ref().cmp(other.as_ref())
    }
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Sha256::new_with_prefix(bytes).into()
    }

    /// The digest of everything that `reader` yields.
    pub fn of_reader(mut reader: impl Read) -> io::Result<Digest> {
        let mut hasher = Sha256::new();
        io::copy(&mut reader, &mut hasher)?;
        Ok(hasher.into())
    }

    /// The 64 hexadecimal digits, without `sha256:`.
    pub fn hex(&self) -> &str {
        self.0.digest()
    }

    /// The first 12 hexadecimal digits, for tables; see [`shorten`].
    pub fn short(&self) -> &str {
        shorten(self.0.as_ref())
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Digest> {
        let parsed = text.parse::<image::Digest>().ok().and_then(|digest| Digest::try_from(digest).ok());
        parsed.ok_or_else(|| invalid(text))
    }
}

impl TryFrom<image::Digest> for Digest {
    type Error = Error;

    fn try_from(digest: image::Digest) -> Result<Digest> {
        match digest.algorithm() {
            DigestAlgorithm::Sha256 => Ok(Digest(digest)),
            _ => Err(invalid(digest.as_ref())),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Digest> {
        text.parse()
    }
}

impl From<Digest> for image::Digest {
    fn from(digest: Digest) -> image::Digest {
        digest.0
    }
}

impl From<Sha256> for Digest {
    fn from(hasher: Sha256) -> Digest {
        let digest: Sha256Digest = hex(&hasher.finalize()).parse().expect("a SHA-256 has 64 digits");
        Digest(digest.into())
    }
}

impl AsRef<str> for Digest {
    fn as_ref(&self) -> &str {
        self.0.as_ref()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn invalid(text: &str) -> Error {
    Error::new(format!("invalid digest {text:?}: expected 'sha256:' and 64 hexadecimal digits"))
}

/// The short form of a digest: its first 12 hexadecimal digits. Text that is not a digest is truncated, too.
pub fn shorten(text: &str) -> &str {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    digits.char_indices().nth(SHORT).map_or(digits, |(end, _)| &digits[..end])
}

/// Formats bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn parses_and_shows() {
        let digest: Digest = EMPTY.parse().unwrap();
        assert_eq!(digest, Digest::of(b""));
        assert_eq!(digest, Digest::of_reader(io::empty()).unwrap());
        assert_eq!((digest.to_string().as_str(), digest.hex()), (EMPTY, &EMPTY[7..]));
        assert_eq!(digest.short(), "e3b0c44298fc");
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("{EMPTY:?}"));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
    }

    #[test]
    fn refuses_what_is_not_a_sha_256() {
        let upper = EMPTY.to_uppercase();
        let sha512 = format!("sha512:{}", "a".repeat(128));
        for text in ["", "sha256:", "sha256:abcd", &EMPTY[7..], &upper, &sha512, "md5:x", "sha256:\n"] {
            let error = text.parse::<Digest>().unwrap_err().to_string();
            assert!(error.starts_with("invalid digest"), "{error}");
        }
    }

    #[test]
    fn text_is_truncated() {
        for (text, short) in [("sha256:12", "12"), ("", ""), ("ääääääääääääää", "ääääääääääää")]
        {
            assert_eq!(shorten(text), short);
        }
    }
}
