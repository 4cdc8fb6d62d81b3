//! OCI layouts in tar archives. skopeo would unpack one as root, and follow the links in it to anywhere on the host; so it
//! only sees the directory that is made of an archive here.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use rustix::fs::{Mode, OFlags, openat};

use super::archive::{Archive, Member, shown};
use super::limits;
use super::space::Space;
use crate::error::{Context, Error, Result};
use crate::system::directory::Directory;

/// How many bytes are copied at once.
const BUFFER: usize = 256 << 10;
/// Maximum length of the name of a digest's algorithm, and of a digest.
const NAME: usize = 128;

/// Unpacks the files of a layout into a directory that nobody else can enter. What does not belong to a layout is left
/// out. `tell` is called with how many bytes there are, again and again.
pub fn unpack(archive: impl Read, into: &Path, space: &Space, tell: &dyn Fn(u64)) -> Result<()> {
    let directory = Directory::open(into).context(|| format!("cannot open {}", into.display()))?;
    let mut archive = Archive::new(archive);
    let (mut total, mut has_index) = (0, false);
    while let Some(member) = archive.next_member()? {
        let Some(names) = names(&member.path) else { continue };
        let what = || format!("entry {}", shown(&member.path));
        if !member.kind.is_file() {
            return Err(Error::new("it is not a regular file")).context(what);
        }
        has_index |= names == ["index.json"];
        check_size(&names, &member).context(what)?;
        let mut file = create(&directory, &names).context(what)?;
        copy(&mut archive, &mut file, space, &mut |bytes| {
            total += bytes;
            tell(total);
        })
        .context(what)?;
    }
    if has_index { Ok(()) } else { Err(Error::new("it has no index.json, so it is not an OCI archive")) }
}

/// The names in the path of a file of a layout; `None` for everything else, such as the directories above it.
fn names(path: &[u8]) -> Option<Vec<&str>> {
    let path = std::str::from_utf8(path).ok()?;
    let names: Vec<&str> = path.strip_prefix("./").unwrap_or(path).split('/').collect();
    let is_name = |name: &str, allowed: fn(&u8) -> bool| {
        (1..=NAME).contains(&name.len()) && name.as_bytes().iter().all(allowed)
    };
    let is_layout = match names.as_slice() {
        ["oci-layout" | "index.json"] => true,
        ["blobs", algorithm, digest] => {
            is_name(algorithm, |c| c.is_ascii_lowercase() || c.is_ascii_digit())
                && is_name(digest, u8::is_ascii_hexdigit)
        }
        _ => false,
    };
    is_layout.then_some(names)
}

fn check_size(names: &[&str], member: &Member) -> Result<()> {
    if names.len() == 1 && member.size > limits::DOCUMENT {
        return Err(Error::new(format!("it is larger than {} MiB", limits::DOCUMENT >> 20)));
    }
    Ok(())
}

/// Creates a file, which must not be there yet.
fn create(directory: &Directory, names: &[&str]) -> Result<File> {
    let what = || "cannot create it".to_string();
    let (name, above) = names.split_last().ok_or_else(|| Error::new("it has no name"))?;
    let mut parent = None;
    for name in above {
        let child = parent.as_ref().unwrap_or(directory).make_child(name.as_ref(), 0o700);
        parent = Some(child.context(what)?);
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(parent.as_ref().unwrap_or(directory), *name, flags, Mode::from_raw_mode(0o600));
    match file {
        Err(rustix::io::Errno::EXIST) => Err(Error::new("it occurs twice")),
        file => Ok(File::from(file.map_err(std::io::Error::from).context(what)?)),
    }
}

fn copy(from: &mut impl Read, to: &mut File, space: &Space, tell: &mut dyn FnMut(u64)) -> Result<()> {
    let mut buffer = vec![0; BUFFER];
    space.take(0)?;
    loop {
        let length = from.read(&mut buffer).context(|| "cannot read it".into())?;
        if length == 0 {
            return Ok(());
        }
        space.take(length as u64)?;
        to.write_all(&buffer[..length]).context(|| "cannot write it".into())?;
        tell(length as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tar::{Builder, EntryType, Header};

    fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (path, kind, content) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mode(0o6777);
            // Any path, which the crate would refuse.
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            let is_file = kind.is_file();
            if !is_file {
                header.set_link_name_literal(content).unwrap();
            }
            header.set_size(if is_file { content.len() as u64 } else { 0 });
            header.set_cksum();
            builder.append(&header, if is_file { content.as_bytes() } else { b"" }).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpacked(entries: &[(&str, EntryType, &str)], reserve: u64) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("to")).unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        let to = dir.path().join("to");
        let result = unpack(&*archive(entries), &to, &Space::new(&to, reserve), &|_| {});
        (dir, result.err().map(|e| e.to_string()).unwrap_or_default())
    }

    #[test]
    fn only_the_files_of_a_layout_are_made() {
        let (file, link) = (EntryType::Regular, EntryType::Symlink);
        let (dir, why) = unpacked(
            &[
                ("./oci-layout", file, "{}"),
                ("d", link, "../etc"),
                ("d/evil", file, "x"),
                ("../etc/evil", file, "x"),
                ("/etc/evil", file, "x"),
                ("hard", EntryType::Link, "../etc/evil"),
                ("blobs", EntryType::Directory, ""),
                ("blobs/sha256/", EntryType::Directory, ""),
                ("blobs/../evil", file, "x"),
                ("blobs/sha256/0aF", file, "blob"),
                ("manifest.json", file, "x"),
                ("index.json", file, "{}"),
            ],
            0,
        );
        assert_eq!(why, "");
        let to = dir.path().join("to");
        let made = walkdir::WalkDir::new(dir.path()).sort_by_file_name().into_iter().flatten();
        let made: Vec<_> = made.filter(|e| !e.file_type().is_dir()).map(|e| e.into_path()).collect();
        assert_eq!(made, ["blobs/sha256/0aF", "index.json", "oci-layout"].map(|name| to.join(name)));
        assert_eq!(fs::read_to_string(to.join("blobs/sha256/0aF")).unwrap(), "blob");
    }

    #[test]
    fn links_in_place_of_them_are_refused() {
        let (file, link) = (EntryType::Regular, EntryType::Symlink);
        for (entries, expected) in [
            (vec![("index.json", link, "../etc/evil"), ("index.json", file, "x")], "not a regular file"),
            (vec![("blobs/sha256/00", link, "/dev/zero")], "not a regular file"),
            (vec![("blobs/sha256/00", EntryType::Fifo, "")], "not a regular file"),
            (vec![("index.json", file, "x"), ("./index.json", file, "y")], "it occurs twice"),
            (vec![("blobs", link, "../etc"), ("blobs/sha256/00", file, "x")], "no index.json"),
            (vec![("oci-layout", file, "{}")], "no index.json"),
        ] {
            let (dir, why) = unpacked(&entries, 0);
            assert!(why.contains(expected), "{why}");
            assert_eq!(fs::read_dir(dir.path().join("etc")).unwrap().count(), 0);
        }
    }

    #[test]
    fn what_is_reserved_stays_free() {
        let blob = "x".repeat(3 << 20);
        let (_, why) = unpacked(&[("blobs/sha256/00", EntryType::Regular, &blob)], u64::MAX);
        assert!(why.contains("stay free"), "{why}");
        let index = "x".repeat(5 << 20);
        let (_, why) = unpacked(&[("index.json", EntryType::Regular, &index)], 0);
        assert!(why.contains("larger than 4 MiB"), "{why}");
    }
}
