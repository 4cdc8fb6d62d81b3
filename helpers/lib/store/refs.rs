//! Names of refs, as containers/image's ostree transport gives them.

use crate::digest::Digest;

/// Prefix of the refs of images and layers.
const PREFIX: &str = "ociimage/";
/// Maximum length of a file's name in bytes.
const FILE_NAME_MAX: usize = 255;
/// Directory of these refs in a repository.
pub const DIRECTORY: &str = "refs/heads/ociimage";

/// The ref of an image. Bytes other than letters, digits, `.` and `-` become `_` and two hexadecimal digits.
pub fn image_ref(name: &str) -> String {
    let mut encoded = PREFIX.to_owned();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-') {
            encoded.push(byte as char);
        } else {
            encoded.push_str(&format!("_{byte:02X}"));
        }
    }
    encoded
}

/// Whether the name of an image is too long for a ref, which is a file.
pub fn is_too_long(name: &str) -> bool {
    image_ref(name).len() - PREFIX.len() > FILE_NAME_MAX
}

/// The name of the image that a ref belongs to; `None` if it is not the ref of an image.
pub fn image_name(reference: &str) -> Option<String> {
    let encoded = reference.strip_prefix(PREFIX)?;
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'_' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    let name = String::from_utf8(bytes).ok()?;
    // The names of layers and configurations are bare hexadecimal digits.
    (name.contains(':') && image_ref(&name) == reference).then_some(name)
}

/// The ref of a layer, by the digest of its blob.
pub fn layer_ref(digest: &Digest) -> String {
    format!("{PREFIX}{}", digest.hex())
}

/// The digest of the blob that a ref belongs to; `None` if it is not the ref of a layer or a configuration.
pub fn layer_digest(reference: &str) -> Option<Digest> {
    format!("sha256:{}", reference.strip_prefix(PREFIX)?).parse().ok()
}

/// Whether a ref has a temporary name, under which libostree writes refs before it renames them. A killed program may
/// leave one behind.
pub fn is_temporary(reference: &str) -> bool {
    let random = reference.strip_prefix(PREFIX).and_then(|name| name.strip_prefix("tmp."));
    random.is_some_and(|random| random.len() == 6 && random.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Whether a ref is among those of images and layers.
pub fn is_ours(reference: &str) -> bool {
    reference.starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_refs_apart() {
        let digest = Digest::of(b"");
        assert_eq!(layer_digest(&layer_ref(&digest)), Some(digest.clone()));
        for other in [digest.hex(), "ociimage/12ab", "ostree/0/1/0", &image_ref(digest.hex())[..70]] {
            assert_eq!(layer_digest(other), None, "{other}");
        }
        assert!(is_temporary("ociimage/tmp.a1B2c3"));
        for other in ["tmp.a1B2c3", "ociimage/tmp.a", "ociimage/tmp.a_3A12", "ociimage/x"] {
            assert!(!is_temporary(other), "{other}");
        }
    }

    #[test]
    fn encodes_as_containers_image_does() {
        assert_eq!(image_ref("docker.io/x_y/z:1"), "ociimage/docker.io_2Fx_5Fy_2Fz_3A1");
        assert_eq!(image_ref("ä"), "ociimage/_C3_A4");
    }
}
