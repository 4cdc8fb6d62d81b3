//! The names of the images in an archive that `docker save` wrote.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::archive::Archive;
use super::archive_file;
use super::limits;
use crate::error::{Context, Error, Result};
use crate::program::credentials;

/// How many names of images a message has.
const SHOWN: usize = 10;

/// The first tag of the last image in an archive, which is the one that Atomic used; `None` if it has no tag.
pub fn first_tag(file: &Path) -> Result<Option<String>> {
    let manifest = manifest(file)?;
    let last = manifest.as_array().and_then(|images| images.last());
    let tag = last.and_then(|image| image.pointer("/RepoTags/0")).and_then(Value::as_str);
    Ok(tag.map(str::to_owned))
}

/// Says which images are in an archive, if the wanted one is not; `None` if it is, or nobody can tell. skopeo calls images
/// by other names.
pub fn absence(file: &Path, wanted: &str) -> Option<String> {
    let manifest = manifest(file).ok()?;
    let images = manifest.as_array().into_iter().flatten();
    let names = images.filter_map(|image| image["RepoTags"].as_array()).flatten().filter_map(Value::as_str);
    let names: Vec<&str> = names.collect();
    if names.iter().any(|name| full(name) == full(wanted)) {
        return None;
    }
    let shown = names.iter().take(SHOWN).map(|name| credentials::concealed_reference(name));
    let shown: Vec<String> = shown.map(|name| name.escape_debug().to_string()).collect();
    let more = if names.len() > SHOWN { " and others" } else { "" };
    let file = file.display();
    Some(match shown.as_slice() {
        [] => format!("there is no image {wanted} in {file}, and none in it has a name"),
        _ => format!("there is no image {wanted} in {file}, but {}{more}", shown.join(", ")),
    })
}

/// A name as skopeo has it, which may be left out in part.
fn full(name: &str) -> &str {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    name.strip_suffix(":latest").unwrap_or(name)
}

fn manifest(file: &Path) -> Result<Value> {
    let what = || format!("cannot read {}", file.display());
    let mut archive = Archive::new(archive_file::open(file)?);
    while let Some(member) = archive.next_member().context(what)? {
        if member.path == b"manifest.json" {
            return serde_json::from_reader(archive.by_ref().take(limits::DOCUMENT)).context(what);
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
        let expected = format!("there is no image nosuch:1 in {}, but a:1, b:2", path.display());
        assert_eq!(absence(&path, "nosuch:1"), Some(expected));
        for there in ["a:1", "docker.io/library/b:2", "library/a:1"] {
            assert_eq!(absence(&path, there), None);
        }
        assert_eq!(absence(&dir.path().join("none"), "a:1"), None);
        assert!(why(&dir.path().join("none")).contains("No such file"));
    }
}
