//! The files of an image, which may be in the store, in a directory (`--rootfs=`), or in the form of sources.
//!
//! A walk finds no more than [`crate::image::limits`] allow.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::image::limits::{self, WalkBudget};
use crate::system::directory::{self, Links};

/// How many bytes of a file are read to find out how it is run: those that have the headers of usual programs.
const START: u64 = 4096;

/// The files of an image. Paths are relative to the image's root, like `exports/manifest.json`.
pub trait Tree {
    /// Returns the content of a regular file, or `None` if there is no file; symlinks are not followed.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>>;

    /// Returns the digest of the content of a regular file, however large it is, or `None` if there is no file.
    fn digest(&self, path: &str) -> Result<Option<Digest>> {
        Ok(self.read(path)?.map(|content| Digest::of(&content)))
    }

    /// Returns what a file is, or `None` if there is none; symlinks are not followed. Where nobody can tell, as of sources,
    /// there is none.
    fn kind(&self, _path: &str) -> Result<Option<FileKind>> {
        Ok(None)
    }

    /// Returns a regular file as what may be run, or `None` if there is none, or nobody can tell; symlinks are not followed.
    fn executable(&self, _path: &str) -> Result<Option<Executable>> {
        Ok(None)
    }

    /// Lists everything below a directory, sorted by path; nothing where there is no such directory.
    fn walk(&self, path: &str) -> Result<Vec<TreeEntry>>;

    /// Makes the files appear at `destination`, which must not exist yet, while its parent must.
    fn checkout(&self, destination: &Path) -> Result<()>;
}

impl<T: Tree + ?Sized> Tree for &T {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        (**self).read(path)
    }

    fn digest(&self, path: &str) -> Result<Option<Digest>> {
        (**self).digest(path)
    }

    fn kind(&self, path: &str) -> Result<Option<FileKind>> {
        (**self).kind(path)
    }

    fn executable(&self, path: &str) -> Result<Option<Executable>> {
        (**self).executable(path)
    }

    fn walk(&self, path: &str) -> Result<Vec<TreeEntry>> {
        (**self).walk(path)
    }

    fn checkout(&self, destination: &Path) -> Result<()> {
        (**self).checkout(destination)
    }
}

/// The type of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    Directory,
    Regular,
    /// A symlink, with its target.
    Symlink(PathBuf),
    /// A device, a FIFO or a socket.
    Special,
}

/// A file as what the kernel would run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// Permissions, without the type.
    pub mode: u32,
    /// How it begins.
    pub start: Vec<u8>,
}

impl Executable {
    /// Reads how the content of a file of these permissions begins.
    pub fn read(mode: u32, content: impl Read) -> io::Result<Executable> {
        let mut start = Vec::new();
        content.take(START).read_to_end(&mut start)?;
        Ok(Executable { mode: mode & 0o7777, start })
    }
}

/// A file found by [`Tree::walk`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// Relative to the directory that was walked.
    pub path: PathBuf,
    pub kind: FileKind,
    /// Permissions, without the type.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// A directory that is the root of an image, as for `--rootfs=`. It is used in place: a checkout is a symlink to it.
///
/// Whoever can write to it may put symlinks in it. As in the store, none is followed, so nothing outside is read.
pub struct Directory(pub PathBuf);

impl Directory {
    fn open(&self) -> io::Result<Option<directory::Directory>> {
        match directory::Directory::open(&self.0) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            root => root.map(Some),
        }
    }
}

impl Tree for Directory {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let what = || format!("cannot read {}", self.0.join(path).display());
        let Some(root) = self.open().context(what)? else { return Ok(None) };
        let Some(file) = root.file(Path::new(path), Links::Refused).context(what)? else { return Ok(None) };
        content(file, limits::READ as u64).context(what).map(Some)
    }

    fn digest(&self, path: &str) -> Result<Option<Digest>> {
        let what = || format!("cannot read {}", self.0.join(path).display());
        let Some(root) = self.open().context(what)? else { return Ok(None) };
        let Some(file) = root.file(Path::new(path), Links::Refused).context(what)? else { return Ok(None) };
        Digest::of_reader(file).context(what).map(Some)
    }

    fn kind(&self, path: &str) -> Result<Option<FileKind>> {
        let what = || format!("cannot examine {}", self.0.join(path).display());
        let Some(root) = self.open().context(what)? else { return Ok(None) };
        let (above, name) = split(path);
        let Some(parent) = root.find_directory(above, Links::Refused).context(what)? else { return Ok(None) };
        let Some(found) = parent.stat_of(name).context(what)? else { return Ok(None) };
        kind_in(&parent, name, &found).map(Some).context(what)
    }

    fn executable(&self, path: &str) -> Result<Option<Executable>> {
        let what = || format!("cannot read {}", self.0.join(path).display());
        let Some(root) = self.open().context(what)? else { return Ok(None) };
        let Some(file) = root.file(Path::new(path), Links::Refused).context(what)? else { return Ok(None) };
        let mode = file.metadata().context(what)?.mode();
        Executable::read(mode, file).map(Some).context(what)
    }

    fn walk(&self, path: &str) -> Result<Vec<TreeEntry>> {
        let what = || format!("cannot read {}", self.0.join(path).display());
        let mut entries = Vec::new();
        let Some(root) = self.open().context(what)? else { return Ok(entries) };
        if let Some(directory) = root.find_directory(Path::new(path), Links::Refused).context(what)? {
            list(&directory, Path::new(""), &mut entries, &mut WalkBudget::default()).context(what)?;
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    fn checkout(&self, destination: &Path) -> Result<()> {
        symlink(&self.0, destination).context(|| format!("cannot create {}", destination.display()))
    }
}

/// The files of an image for a container that is to stay plain: nothing in `/exports` is found, though it is checked
/// out with the rest.
pub struct WithoutExports<'a>(pub Box<dyn Tree + 'a>);

impl WithoutExports<'_> {
    fn hides(path: &str) -> bool {
        Path::new(path).starts_with("exports") || Path::new(path).starts_with("/exports")
    }
}

impl Tree for WithoutExports<'_> {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        if Self::hides(path) { Ok(None) } else { self.0.read(path) }
    }

    fn digest(&self, path: &str) -> Result<Option<Digest>> {
        if Self::hides(path) { Ok(None) } else { self.0.digest(path) }
    }

    fn kind(&self, path: &str) -> Result<Option<FileKind>> {
        if Self::hides(path) { Ok(None) } else { self.0.kind(path) }
    }

    fn executable(&self, path: &str) -> Result<Option<Executable>> {
        if Self::hides(path) { Ok(None) } else { self.0.executable(path) }
    }

    fn walk(&self, path: &str) -> Result<Vec<TreeEntry>> {
        if Self::hides(path) { Ok(Vec::new()) } else { self.0.walk(path) }
    }

    fn checkout(&self, destination: &Path) -> Result<()> {
        self.0.checkout(destination)
    }
}

/// Reads a file of at most `limit` bytes.
fn content(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    if file.take(limit + 1).read_to_end(&mut content)? as u64 > limit {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("it is larger than {limit} bytes")));
    }
    Ok(content)
}

/// Lists what is in a directory, and below it; `below` is its own path.
fn list(
    root: &directory::Directory,
    below: &Path,
    entries: &mut Vec<TreeEntry>,
    budget: &mut WalkBudget,
) -> Result<()> {
    let what = || format!("directory {}", below.display());
    // It may have been replaced meanwhile.
    let Some(opened) = root.find_directory(below, Links::Refused).context(what)? else { return Ok(()) };
    let mut names = opened.names(limits::HOST_FILES + 1).context(what)?;
    names.sort();
    for name in names {
        let Some(found) = opened.stat_of(&name).context(what)? else { continue };
        let path = below.join(&name);
        budget.take(&path)?;
        let kind = kind_in(&opened, &name, &found).context(what)?;
        let is_directory = kind == FileKind::Directory;
        let (mode, uid, gid) = (found.st_mode & 0o7777, found.st_uid, found.st_gid);
        entries.push(TreeEntry { path: path.clone(), kind, mode, uid, gid });
        if is_directory {
            list(root, &path, entries, budget)?;
        }
    }
    Ok(())
}

/// The directory of a path, and the name in it.
fn split(path: &str) -> (&Path, &OsStr) {
    let path = Path::new(path);
    (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or(OsStr::new(".")))
}

fn kind_in(directory: &directory::Directory, name: &OsStr, found: &Stat) -> io::Result<FileKind> {
    Ok(match directory::kind(found) {
        FileType::Directory => FileKind::Directory,
        FileType::RegularFile => FileKind::Regular,
        FileType::Symlink => FileKind::Symlink(directory.link_target(name)?),
        _ => FileKind::Special,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_directory_is_read_walked_and_linked() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("exports/hostfs/etc")).unwrap();
        fs::write(dir.path().join("exports/hostfs/etc/b"), "x").unwrap();
        symlink("b", dir.path().join("exports/hostfs/etc/a")).unwrap();
        let image = Directory(dir.path().to_path_buf());
        let tree = &image as &dyn Tree;
        {
            assert_eq!(tree.read("exports/hostfs/etc/b").unwrap().as_deref(), Some(b"x".as_slice()));
            assert_eq!(tree.digest("exports/hostfs/etc/b").unwrap(), Some(Digest::of(b"x")));
            assert_eq!(tree.read("exports/none").unwrap(), None);
            let error = tree.read("exports/hostfs/etc/a").unwrap_err().to_string();
            assert!(error.ends_with("it is not a regular file"), "{error}");
            let paths: Vec<_> = tree
                .walk("exports/hostfs")
                .unwrap()
                .into_iter()
                .map(|entry| (entry.path, entry.kind))
                .collect();
            assert_eq!(
                paths,
                [
                    ("etc".into(), FileKind::Directory),
                    ("etc/a".into(), FileKind::Symlink("b".into())),
                    ("etc/b".into(), FileKind::Regular),
                ]
            );
            assert_eq!(tree.walk("exports/none").unwrap(), []);
        }
        let link = dir.path().join("link");
        image.checkout(&link).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), dir.path());
    }

    #[test]
    fn no_more_is_read_than_is_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        fs::write(&path, "xx").unwrap();
        let read = |limit| content(File::open(&path).unwrap(), limit);
        assert_eq!(read(2).unwrap(), b"xx");
        assert_eq!(read(1).unwrap_err().to_string(), "it is larger than 1 bytes");
    }

    #[test]
    fn links_out_of_a_directory_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (out, image) = (dir.path().join("out"), dir.path().join("image"));
        fs::create_dir_all(out.join("hostfs/etc")).unwrap();
        for file in ["manifest.json", "hostfs/etc/secret", "passwd"] {
            fs::write(out.join(file), "{}").unwrap();
        }
        fs::create_dir_all(image.join("exports")).unwrap();
        let tree = Directory(image.clone());
        symlink("../../out/hostfs", image.join("exports/hostfs")).unwrap();
        symlink(out.join("manifest.json"), image.join("exports/manifest.json")).unwrap();
        symlink(&out, image.join("etc")).unwrap();
        assert_eq!(tree.walk("exports/hostfs").unwrap(), []);
        assert_eq!(tree.read("exports/hostfs/etc/secret").unwrap(), None);
        assert_eq!(tree.read("etc/passwd").unwrap(), None);
        assert!(tree.read("exports/manifest.json").unwrap_err().to_string().ends_with("not a regular file"));
        fs::remove_dir_all(image.join("exports")).unwrap();
        symlink(&out, image.join("exports")).unwrap();
        assert_eq!(tree.read("exports/manifest.json").unwrap(), None);
        assert_eq!(tree.walk("exports/hostfs").unwrap(), []);
        nix::unistd::mkfifo(&image.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(tree.read("fifo").unwrap_err().to_string().ends_with("not a regular file"));
        assert_eq!(Directory(dir.path().join("none")).read("x").unwrap(), None);
    }
}
