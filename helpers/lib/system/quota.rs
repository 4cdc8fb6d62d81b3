//! Project quotas: how much a directory may hold, with everything that is ever made in it.
//!
//! XFS, ext4 and F2FS have them, if they are mounted with `prjquota`. A project is a number; those that are used here are
//! far from those that administrators use, and random. The owner of a file may give it any project: one that has files or
//! limits is not used, and nobody has enough files to use up what nobody can guess.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use nix::libc;

use crate::error::{Context, Error, Result};
use crate::system::directory::Directory;
use crate::system::random;

/// Numbers of projects that are used here have this bit.
const OURS: u32 = 1 << 31;
/// Unit of limits in bytes, QIF_DQBLKSIZE.
const BLOCK: u64 = 1024;
/// Size of a block of usual file systems, and how many inodes there may be that have none.
const USUAL_BLOCK: u64 = 4096;
const EMPTY_FILES: u64 = 4096;

// linux/fs.h.
const GET_ATTRIBUTES: libc::c_ulong = 0x801c_581f;
const SET_ATTRIBUTES: libc::c_ulong = 0x401c_5820;
/// What is made in the directory belongs to its project, FS_XFLAG_PROJINHERIT.
const INHERIT: u32 = 0x200;

// linux/quota.h and linux/dqblk_xfs.h: commands for quotas of projects.
const GET: u32 = command(0x80_0007);
const SET: u32 = command(0x80_0008);
const STATE: u32 = command(0x5808);
/// Limits of projects hold, FS_QUOTA_PDQ_ENFD.
const ENFORCED: u16 = 1 << 5;
/// Limits of blocks and of inodes are set, QIF_LIMITS.
const LIMITS: u32 = 1 | 4;

const fn command(number: u32) -> u32 {
    number << 8 | 2
}

/// `struct fsxattr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    cow_extent_size: u32,
    padding: [u8; 8],
}

/// `struct if_dqblk`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    hard_blocks: u64,
    soft_blocks: u64,
    space: u64,
    hard_inodes: u64,
    soft_inodes: u64,
    inodes: u64,
    block_time: u64,
    inode_time: u64,
    valid: u32,
}

/// How many numbers are tried for a directory, of two thousand millions.
const ATTEMPTS: u32 = 1000;

/// Fails if a limit would not hold on the file system that a directory is on, or is to be on if it is missing.
pub fn check(directory: &Path) -> Result<()> {
    let there = directory.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
    let opened = Directory::open(there).context(|| format!("cannot open {}", there.display()))?;
    if holds(opened.as_fd()) {
        return Ok(());
    }
    Err(Error::new(format!(
        "{} is on a file system without project quotas; mount one with the option prjquota there, such as XFS or ext4",
        directory.display()
    )))
}

fn holds(directory: BorrowedFd<'_>) -> bool {
    // struct fs_quota_statv is smaller; its first byte is a version, and its flags are in the third and fourth.
    let mut state = [0_u64; 64];
    state[0] = u64::from_ne_bytes([1, 0, 0, 0, 0, 0, 0, 0]);
    let got = quotactl(directory, STATE, 0, &mut state);
    let [_, _, low, high, ..] = state[0].to_ne_bytes();
    got.is_ok() && u16::from_ne_bytes([low, high]) & ENFORCED != 0
}

/// Limits what an empty directory may hold. The caller holds the lock of projects: until this one has limits, another start
/// may find it free as well.
pub fn limit(path: &Path, bytes: u64) -> Result<()> {
    let what = || format!("cannot limit {} to {bytes} bytes", path.display());
    check(path).context(what)?;
    let directory = Directory::open(path).context(what)?;
    let mut attributes = Attributes::default();
    ioctl(directory.as_fd(), GET_ATTRIBUTES, &mut attributes).context(what)?;
    let project = free_project(random, |project| is_used(directory.as_fd(), project));
    attributes.project = project.context(what)?;
    attributes.flags |= INHERIT;
    let limits = Limits {
        hard_blocks: bytes.div_ceil(BLOCK),
        hard_inodes: bytes / USUAL_BLOCK + EMPTY_FILES,
        valid: LIMITS,
        ..Limits::default()
    };
    // First the project, by which its limits are found and lifted if this is killed.
    ioctl(directory.as_fd(), SET_ATTRIBUTES, &mut attributes).context(what)?;
    set(directory.as_fd(), attributes.project, limits).context(what)
}

/// A project that is not in use, of those that these numbers are.
fn free_project(
    mut random: impl FnMut() -> Result<u32>,
    is_used: impl Fn(u32) -> io::Result<bool>,
) -> Result<u32> {
    for _ in 0..ATTEMPTS {
        let project = OURS | random()?;
        if !is_used(project).context(|| format!("cannot examine project {project}"))? {
            return Ok(project);
        }
    }
    Err(Error::new(format!(
        "each of {ATTEMPTS} projects from {OURS} on that were tried has files or limits already, see repquota -P; give these files other projects"
    )))
}

fn random() -> Result<u32> {
    random::bytes().map(u32::from_ne_bytes)
}

/// Whether a project has files or limits.
fn is_used(directory: BorrowedFd<'_>, project: u32) -> io::Result<bool> {
    let mut found = Limits::default();
    match quotactl(directory, GET, project, &mut found) {
        // XFS knows nothing of it.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
        Ok(()) => {
            Ok(found.space != 0 || found.inodes != 0 || found.hard_blocks != 0 || found.hard_inodes != 0)
        }
    }
}

/// Lifts the limit of a directory that is about to be removed, if it has one.
pub fn lift(path: &Path) {
    let Ok(directory) = Directory::open(path) else { return };
    let mut attributes = Attributes::default();
    let found = ioctl(directory.as_fd(), GET_ATTRIBUTES, &mut attributes);
    if found.is_ok() && attributes.project & OURS != 0 {
        // Nobody can be helped with an error here: without files, the project has no effect.
        let _ = set(directory.as_fd(), attributes.project, Limits { valid: LIMITS, ..Limits::default() });
    }
}

/// Has what is made in a directory, or moved there, belong to any project, where there are projects. The directory is
/// about to be removed.
pub fn disinherit(directory: &Directory) {
    let mut attributes = Attributes::default();
    let found = ioctl(directory.as_fd(), GET_ATTRIBUTES, &mut attributes);
    if found.is_ok() && attributes.flags & INHERIT != 0 {
        attributes.flags &= !INHERIT;
        // If that is impossible, removing it may take longer.
        let _ = ioctl(directory.as_fd(), SET_ATTRIBUTES, &mut attributes);
    }
}

fn set(directory: BorrowedFd<'_>, project: u32, mut limits: Limits) -> io::Result<()> {
    quotactl(directory, SET, project, &mut limits)
}

fn quotactl<T>(directory: BorrowedFd<'_>, command: u32, id: u32, data: &mut T) -> io::Result<()> {
    let data: *mut T = data;
    // SAFETY: the commands that are used here write to a structure of at most that size, or only read it.
    #[allow(unsafe_code)]
    let result = unsafe { libc::syscall(libc::SYS_quotactl_fd, directory.as_raw_fd(), command, id, data) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn ioctl(directory: BorrowedFd<'_>, request: libc::c_ulong, attributes: &mut Attributes) -> io::Result<()> {
    let attributes: *mut Attributes = attributes;
    // SAFETY: both requests are for this structure.
    #[allow(unsafe_code)]
    let result = unsafe { libc::ioctl(directory.as_raw_fd(), request as _, attributes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_the_kernels() {
        assert_eq!(size_of::<Attributes>(), (GET_ATTRIBUTES >> 16 & 0x3fff) as usize);
        assert_eq!((size_of::<Limits>(), size_of::<libc::dqblk>()), (72, 72));
        assert_eq!((GET, SET, STATE), (0x8000_0702, 0x8000_0802, 0x0058_0802));
    }

    #[test]
    fn no_two_directories_have_the_same_project() {
        let used = std::cell::RefCell::new(std::collections::HashSet::new());
        let mut numbers = [5, OURS | 5, 5, 7, u32::MAX].into_iter();
        let mut find = || {
            let next = || Ok(numbers.next().unwrap());
            let found = free_project(next, |project| Ok(used.borrow().contains(&project))).unwrap();
            assert!(used.borrow_mut().insert(found));
            found
        };
        assert_eq!([find(), find(), find()], [OURS | 5, OURS | 7, u32::MAX]);
        let error = free_project(|| Ok(5), |_| Ok(true)).unwrap_err().to_string();
        assert!(error.starts_with("each of 1000 projects from 2147483648 on that were tried has"), "{error}");
        assert!(free_project(|| Ok(5), |_| Err(io::ErrorKind::PermissionDenied.into())).is_err());
    }

    /// A payload has taken a million of them, and all that are near to what it knows.
    #[test]
    fn nobody_uses_up_the_projects() {
        let taken = OURS..OURS + 1_000_000;
        for _ in 0..100 {
            let is_used = |project: u32| Ok(taken.contains(&project));
            assert!(free_project(random, is_used).unwrap() >= taken.end);
        }
        let some: std::collections::HashSet<_> = (0..100).map(|_| random().unwrap() | OURS).collect();
        assert!(some.len() > 90);
    }

    #[test]
    fn no_limit_is_promised_where_none_holds() {
        let missing = Path::new("/proc/missing/too");
        let error = limit(missing, 1 << 20).unwrap_err().to_string();
        let expected =
            "cannot limit /proc/missing/too to 1048576 bytes: /proc/missing/too is on a file system without";
        assert!(error.starts_with(expected), "{error}");
        lift(missing);
        lift(Path::new("/proc"));
    }
}
