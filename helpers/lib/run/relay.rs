//! The relay between a pipe that payloads can open by name and the journal: what syscontainer-relay is.
//!
//! It is the only program of ours that stays, so it is to be small: before it begins, it returns all of its memory to the
//! kernel but its stack and the text of the program, which is in the file. From then on there is no C library, nor
//! anything else that was loaded; [`engine`] does without.

#![allow(unsafe_code)]

mod calls;
mod engine;

use std::fs;
use std::ops::Range;
use std::os::fd::{AsFd, IntoRawFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::socket::{setsockopt, sockopt};
use rustix::fs::{FileType, fstat};

use crate::error::{Context, Error, Result};
use crate::run::relay::engine::{State, TITLE};

/// What `ps` shows as the first argument. Both are as long as the relay's own is where syscontainer-start runs it.
pub const TITLES: [&[u8; TITLE]; 2] = [b"syscontainer-relay", b"(output, stand-by)"];
const COMMS: [&[u8; 16]; 2] = [b"syscontainer-re\0", b"output-standby\0\0"];

/// How far it may be ahead of the journal, in bytes. systemd allows some MiB, for which the clean-up of a unit that failed
/// would have to wait, or lines would be out of order.
const AHEAD: usize = 64 << 10;
/// How many mappings are given back; what is more than that stays.
const MAPPINGS: usize = 128;
/// What is needed of the stack below the frame at hand.
const FRAMES: usize = 16 << 10;
const PAGE: usize = 4 << 10;

/// Addresses that are given back before the relay begins.
#[derive(Clone, Copy, Default)]
struct Release {
    start: usize,
    length: usize,
    /// Whether it stays mapped, and is read from its file again if it is needed.
    stays: bool,
}

/// Relays what is written to the pipe at standard input to the socket at standard output, until the end of the pipe.
pub fn run() -> Result<()> {
    let what = || "cannot relay".to_string();
    let input = fstat(std::io::stdin().as_fd()).context(what)?;
    if FileType::from_raw_mode(input.st_mode) != FileType::Fifo {
        return Err(Error::new("standard input is not a pipe")).context(what);
    }
    // It ends with the pipe, and whoever ends the others does not end it before that. A process that was killed is to be
    // gone.
    SigSet::all().thread_block().context(what)?;
    // SAFETY: nothing handles the signal.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }.context(what)?;
    // It need not be a socket.
    let _ = setsockopt(&std::io::stdout(), sockopt::SndBuf, &AHEAD);
    let maps = fs::read_to_string("/proc/self/maps").context(what)?;
    let stat = fs::read_to_string("/proc/self/stat").context(what)?;
    let exe = fs::read_link("/proc/self/exe").context(what)?;
    let title = title(&stat).unwrap_or_default();
    let mut state = State {
        title: (title.start, title.len().saturating_sub(1)),
        titles: TITLES.map(|title| *title),
        comms: COMMS.map(|comm| *comm),
        copies: copies().context(what)?,
        edges: edges().context(what)?,
        buffer: [0; 4096],
    };
    // Not in the heap, which is given back, too.
    let mut releases = [Release::default(); MAPPINGS];
    let mut count = 0;
    if calls::ALONE {
        let found = mappings(&maps).filter_map(|mapping| mapping.release(&exe.to_string_lossy()));
        for (place, release) in releases.iter_mut().zip(found) {
            *place = release;
            count += 1;
        }
    }
    let stack = mappings(&maps).find(|mapping| mapping.name == "[stack]").map_or(0, |m| m.range.start);
    begin(&mut state, &releases[..count], stack)
}

/// Makes the pipe that shows the relay what is in the other one; returns its ends, which stay open.
fn copies() -> nix::Result<(RawFd, RawFd)> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    Ok((read.into_raw_fd(), write.into_raw_fd()))
}

/// Makes what tells of each write to standard input, not of what is there anyway; it stays open.
fn edges() -> nix::Result<RawFd> {
    let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: 0 };
    // SAFETY: the kernel reads the event, and closes nothing.
    unsafe {
        let edges = Errno::result(libc::epoll_create1(libc::EPOLL_CLOEXEC))?;
        Errno::result(libc::epoll_ctl(edges, libc::EPOLL_CTL_ADD, libc::STDIN_FILENO, &raw mut event))?;
        Ok(edges)
    }
}

/// Gives memory back, and relays.
#[inline(never)]
fn begin(state: &mut State, releases: &[Release], stack: usize) -> ! {
    let mut next = releases.as_ptr() as usize;
    let end = next.wrapping_add(releases.len().wrapping_mul(size_of::<Release>()));
    let here = (&raw const *state as usize).wrapping_sub(FRAMES) & !(PAGE - 1);
    // From the first call on, nothing may be called that is not of this folder.
    while next != end {
        // SAFETY: so many were written. What they have is never used again: the engine needs neither libraries nor heap.
        unsafe {
            let release = next as *const Release;
            let start = (*release).start;
            let length = (*release).length;
            if (*release).stays {
                calls::call(libc::SYS_madvise, start, length, libc::MADV_DONTNEED as usize, 0, 0, 0);
            } else {
                calls::call(libc::SYS_munmap, start, length, 0, 0, 0, 0);
            }
        }
        next = next.wrapping_add(size_of::<Release>());
    }
    if calls::ALONE && stack != 0 && here > stack {
        // SAFETY: calls that ended used it. Frames of the ones to come begin anew there.
        unsafe {
            calls::call(
                libc::SYS_madvise,
                stack,
                here.wrapping_sub(stack),
                libc::MADV_DONTNEED as usize,
                0,
                0,
                0,
            )
        };
    }
    engine::run(state)
}

/// A line of /proc/PID/maps.
struct Mapping<'a> {
    range: Range<usize>,
    is_writable: bool,
    name: &'a str,
}

fn mappings(text: &str) -> impl Iterator<Item = Mapping<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let is_writable = fields.next()?.contains('w');
        let name = line.splitn(6, ' ').nth(5).unwrap_or_default().trim();
        let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        Some(Mapping { range, is_writable, name })
    })
}

impl Mapping<'_> {
    /// What is done with it, for the program at `exe`.
    fn release(&self, exe: &str) -> Option<Release> {
        // The kernel's own, and what it writes to.
        let is_kept = self.name.starts_with("[stack")
            || self.name.starts_with("[v")
            || self.range.contains(&calls::thread_pointer());
        let stays = self.name == exe && !self.is_writable;
        let release = Release { start: self.range.start, length: self.range.len(), stays };
        (!is_kept).then_some(release)
    }
}

/// Where the kernel has the first argument, which ends with a NUL, in /proc/PID/stat.
fn title(stat: &str) -> Option<Range<usize>> {
    // After the name of the program, which may have anything in it, the third field is the first.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let start: usize = fields.nth(48 - 3)?.parse().ok()?;
    let first = std::env::args_os().next()?.len();
    Some(start..start + first + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_everything_else() {
        let text = "\
55d0-55d4 r--p 00000000 fe:00 131 /usr/lib exec/relay
55d4-55d8 r-xp 00004000 fe:00 131 /usr/lib exec/relay
55d8-55dc rw-p 00008000 fe:00 131 /usr/lib exec/relay
6000-7000 rw-p 00000000 00:00 0 [heap]
7f00-7f10 r-xp 00000000 fe:00 99 /usr/lib/libc.so.6
7f10-7f20 rw-p 00000000 00:00 0
7ffc-7ffd rw-p 00000000 00:00 0 [stack]
7ffe-7fff r-xp 00000000 00:00 0 [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]
";
        let found: Vec<_> = mappings(text)
            .filter_map(|mapping| mapping.release("/usr/lib exec/relay"))
            .map(|release| (release.start, release.length, release.stays))
            .collect();
        let wanted = [
            (0x55d0, 4, true),
            (0x55d4, 4, true),
            (0x55d8, 4, false),
            (0x6000, 0x1000, false),
            (0x7f00, 0x10, false),
            (0x7f10, 0x10, false),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn the_thread_stays() {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let pointer = calls::thread_pointer();
        let own = mappings(&maps).find(|mapping| mapping.range.contains(&pointer));
        assert!(!calls::ALONE || own.is_some_and(|mapping| mapping.release("").is_none()), "{maps}");
    }

    #[test]
    fn the_first_argument_is_where_the_kernel_says() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let found = title(&stat).unwrap();
        let memory = fs::File::open("/proc/self/mem").unwrap();
        let mut bytes = vec![0; found.len()];
        std::os::unix::fs::FileExt::read_exact_at(&memory, &mut bytes, found.start as u64).unwrap();
        assert_eq!(bytes.pop(), Some(0));
        assert_eq!(bytes, std::env::args_os().next().unwrap().into_encoded_bytes());
    }

    #[test]
    fn names_are_as_long_as_each_other() {
        assert_eq!(TITLES[0].len(), "syscontainer-relay".len());
        assert!(COMMS.iter().all(|comm| comm[15] == 0));
    }
}
