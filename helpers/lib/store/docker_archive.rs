//! The name of the image in an archive that `docker save` wrote.

use std::io::Read;
use std::path::Path;

use super::archive::Archive;
use super::archive_file;
use super::limits;
use crate::error::{Context, Error, Result};

/// The first tag of the last image in an archive, which is the one that Atomic used; `None` if it has no tag.
pub fn first_tag(file: &Path) -> Result<Option<String>> {
    let what = || format!("cannot read {}", file.display());
    let mut archive = Archive::new(archive_file::open(file)?);
    while let Some(member) = archive.next_member().context(what)? {
        if member.path == b"manifest.json" {
            let text = archive.by_ref().take(limits::DOCUMENT);
            let manifest: serde_json::Value = serde_json::from_reader(text).context(what)?;
            let last = manifest.as_array().and_then(|images| images.last());
            let tag = last.and_then(|image| image.pointer("/RepoTags/0")).and_then(|tag| tag.as_str());
            return Ok(tag.map(str::to_owned));
        }
    }
    Err(Error::new("it has no manifest.json, so it is not a docker archive")).context(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn names_are_bounded_and_nothing_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("archive.tar");
        let why = |path: &Path| first_tag(path).unwrap_err().to_string();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(why(&path).contains("it is not a regular file"), "{}", why(&path));
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(8 << 30);
        header.set_cksum();
        fs::remove_file(&path).unwrap();
        fs::write(&path, header.as_bytes()).unwrap();
        assert!(why(&path).contains("is longer than 1048576 bytes"), "{}", why(&path));
        let text = br#"[{"RepoTags": ["a:1"]}, {"RepoTags": ["b:2"]}]"#;
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        header.set_cksum();
        builder.append_data(&mut header, "manifest.json", &text[..]).unwrap();
        fs::write(&path, builder.into_inner().unwrap()).unwrap();
        assert_eq!(first_tag(&path).unwrap().as_deref(), Some("b:2"));
        assert!(why(&dir.path().join("none")).contains("No such file"));
    }
}
