//! Paths in an image as its payload sees them: links are followed, and none leads out of it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::error::Result;
use crate::image::tree::{FileKind, Tree};

/// How many links are followed, as the kernel does.
const LINKS: usize = 40;

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Directory,
    /// A regular file, by its path in the image without links.
    File(PathBuf),
    /// Something that is neither a directory nor a regular file, or a file where a directory would have to be.
    Other(PathBuf),
    Missing,
    /// Something that is mounted there, which need not be the image's.
    Mounted,
}

/// The files of an image, and where something is mounted over them.
pub struct Lookup<'a> {
    tree: &'a dyn Tree,
    mounts: Vec<PathBuf>,
}

impl<'a> Lookup<'a> {
    /// The files of an image with something mounted at these places.
    pub fn new(tree: &'a dyn Tree, mounts: impl IntoIterator<Item = PathBuf>) -> Result<Lookup<'a>> {
        let bare = Lookup { tree, mounts: Vec::new() };
        let mounts = mounts.into_iter().map(|place| Ok(bare.walk(&place)?.1));
        Ok(Lookup { tree, mounts: mounts.collect::<Result<_>>()? })
    }

    /// What an absolute path leads to.
    pub fn find(&self, path: &Path) -> Result<Found> {
        Ok(self.walk(path)?.0)
    }

    /// Also returns the place: the path without links, as far as it exists, without a leading slash.
    fn walk(&self, path: &Path) -> Result<(Found, PathBuf)> {
        let (mut left, mut at, mut links) = (names(path), PathBuf::new(), 0);
        while let Some(name) = left.pop_front() {
            if name == ".." {
                at.pop();
                continue;
            }
            let here = at.join(&name);
            let place = || here.iter().chain(left.iter().map(OsString::as_os_str)).collect();
            if self.mounts.contains(&here) {
                return Ok((Found::Mounted, place()));
            }
            match self.tree.kind(&here.to_string_lossy())? {
                Some(FileKind::Directory) => at = here,
                Some(FileKind::Symlink(target)) if links < LINKS => {
                    links += 1;
                    if target.is_absolute() {
                        at = PathBuf::new();
                    }
                    names(&target).into_iter().rev().for_each(|name| left.push_front(name));
                }
                Some(FileKind::Regular) if left.is_empty() => return Ok((Found::File(here.clone()), here)),
                Some(FileKind::Regular | FileKind::Special) => {
                    return Ok((Found::Other(here.clone()), place()));
                }
                Some(FileKind::Symlink(_)) | None => return Ok((Found::Missing, place())),
            }
        }
        Ok((Found::Directory, at))
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    names.map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tree::Directory;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_in_the_image_and_mounts_hide_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        fs::create_dir_all(root.join("run")).unwrap();
        fs::write(root.join("usr/bin/it"), "").unwrap();
        fs::write(dir.path().join("outside"), "").unwrap();
        for (link, target) in [
            ("bin", "usr/bin"),
            ("abs", "/usr/bin/it"),
            ("out", "../outside"),
            ("up", "../../../usr"),
            ("loop", "loop"),
            ("usr/run", "../run"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let tree = Directory(root);
        let lookup = Lookup::new(&tree, ["/usr/run/data".into(), "/proc".into(), "/usr/lib".into()]).unwrap();
        let file = || Found::File("usr/bin/it".into());
        for (path, expected) in [
            ("/usr/bin/it", file()),
            ("//bin/./it", file()),
            ("/abs", file()),
            ("/up/bin/../bin/it", file()),
            ("/../usr/bin/it", file()),
            ("/bin", Found::Directory),
            ("/", Found::Directory),
            ("/out", Found::Missing),
            ("/loop", Found::Missing),
            ("/none/x", Found::Missing),
            ("/abs/x", Found::Other("usr/bin/it".into())),
            ("/run/data/x", Found::Mounted),
            ("/usr/run/data", Found::Mounted),
            ("/proc/self/exe", Found::Mounted),
            ("/usr/lib/x", Found::Mounted),
        ] {
            assert_eq!(lookup.find(path.as_ref()).unwrap(), expected, "{path}");
        }
    }
}
