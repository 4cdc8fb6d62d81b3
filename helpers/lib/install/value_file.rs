//! Values of variables that are read from files, so that they are in no command line.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Context, Error, Result};
use crate::system::files;

/// Maximum size of a file with a value, in bytes.
const MAX: u64 = 1 << 20;

/// Reads the value of a variable from a file, or from standard input if `path` is `-`. One line break at the end does
/// not belong to the value.
pub fn read(name: &str, path: &Path) -> Result<String> {
    let what = || format!("cannot read the value of {name} from {}", path.display());
    if path == Path::new("-") {
        return value(std::io::stdin().lock())
            .context(|| format!("cannot read the value of {name} from standard input"));
    }
    value(File::open(path).context(what)?).context(what)
}

/// Like [`read`], of a regular file that a declaration names. Nothing else that may be there is waited for.
pub fn read_regular(name: &str, path: &Path) -> Result<String> {
    let what = || format!("cannot read the value of {name} from {}", path.display());
    let bytes = files::read_bounded(path, MAX as usize).context(what)?;
    value(bytes.ok_or_else(|| Error::new("there is no such file")).context(what)?.as_slice()).context(what)
}

fn value(input: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    input.take(MAX + 1).read_to_end(&mut bytes).context(|| "cannot read it".into())?;
    if bytes.len() as u64 > MAX {
        return Err(Error::new("it is larger than 1 MiB"));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| Error::new("it is not UTF-8"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_values() {
        for (bytes, expected) in [
            (b"secret\n".as_slice(), "secret"),
            (b"a\nb\n\n", "a\nb\n"),
            (b"dos\r\n", "dos"),
            (b"", ""),
            ("ä".as_bytes(), "ä"),
        ] {
            assert_eq!(value(bytes).unwrap(), expected);
        }
        assert_eq!(value(b"\xff".as_slice()).unwrap_err().to_string(), "it is not UTF-8");
        let large = std::io::repeat(b'x').take(MAX + 1);
        assert_eq!(value(large).unwrap_err().to_string(), "it is larger than 1 MiB");
        let error = read("PW", Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read the value of PW from /nowhere: "), "{error}");
    }
}
