//! What a relay does once it has nothing left but its stack and the text of its program.
//!
//! Two processes share the work: one moves what is in the pipe to the journal, and the other one waits. If the first is
//! killed, the second takes its place and makes a new second one; if the second is killed, the first does. What is moved
//! goes from the pipe to the socket inside the kernel, so that a killed process takes nothing with it. At the end of the
//! pipe, which is when the last process of the container has closed it, both end.
//!
//! The journal ends a line where another process goes on with it. So only whole lines are moved, at once: whoever is
//! next, whether the second process or whoever reads the rest, begins with a line. How far they go is seen in a copy of
//! what is in the pipe, which the kernel makes in another pipe. A line that is not complete stays where it is.
//!
//! There is no C library here, nor anything else in writable memory but the stack. Compilers call `memcpy` and `memset`
//! for arrays and large values, and methods of the standard library through a table of addresses that is gone: so there
//! are numbers, small structures and pointers only. `tests/relay.rs` runs this without optimization.

use nix::libc::{self, pollfd};

use crate::run::relay::calls::{call, close, exit, fork};

/// How much is moved at once. The socket has room for more than this when it can be written to.
const CHUNK: usize = 16 << 10;
/// How long a first process waits before it tries again to make a second one, in seconds.
const AGAIN: isize = 1;
/// How long it waits for the rest of a line, in seconds. Whoever writes that may be waiting itself, for room in a pipe that
/// it made small.
const REST: isize = 10;
const NEWLINE: u8 = b'\n';

const INPUT: i32 = 0;
const OUTPUT: i32 = 1;

/// How a process is called, in 16 bytes with a NUL at the end.
pub type Comm = [u8; 16];
/// How long a title is, which is written over the other one.
pub const TITLE: usize = 18;
/// How long the buffer is.
pub const BUFFER: usize = 4096;

/// What the processes know.
pub struct State {
    /// Address of the first argument, which `ps` shows, and how long it is.
    pub title: (usize, usize),
    /// The first argument of the two processes.
    pub titles: [[u8; TITLE]; 2],
    /// The names of the two.
    pub comms: [Comm; 2],
    /// The ends of the pipe for copies of what is in the other one. Neither of them waits.
    pub copies: (i32, i32),
    /// An epoll instance that tells of the pipe once for each time that something is written to it.
    pub edges: i32,
    /// What is looked at, and what is read where nothing can be moved.
    pub buffer: [u8; BUFFER],
}

/// The addresses of what is in a [`State`].
struct Places {
    title: usize,
    titles: usize,
    comms: usize,
    buffer: usize,
    copies: Pair<i32>,
    edges: i32,
}

/// The output is moved from the pipe to the socket.
const MOVED: u8 = 0;
/// It is copied, where the kernel cannot do that.
const COPIED: u8 = 1;
/// Nobody takes it any longer. The payload is to go on.
const DROPPED: u8 = 2;

/// A pair, as poll(2) takes it, and socketpair(2).
#[repr(C)]
struct Pair<T> {
    first: T,
    second: T,
}

/// How a move ended.
const SOME: u8 = 0;
/// There is a part of a line, and nothing else.
const PART: u8 = 1;
const END: u8 = 2;

/// Relays, until the end of the pipe.
pub fn run(state: &mut State) -> ! {
    let places = Places {
        title: if state.title.1 == TITLE { state.title.0 } else { 0 },
        titles: &raw const state.titles as usize,
        comms: &raw const state.comms as usize,
        buffer: &raw mut state.buffer as usize,
        copies: Pair { first: state.copies.0, second: state.copies.1 },
        edges: state.edges,
    };
    let (mut way, mut other, mut found) = (MOVED, -1, SOME);
    while found != END {
        if other < 0 {
            other = second(&places);
        }
        let is_part = found == PART;
        let source = if is_part { places.edges } else { INPUT };
        let mut fds = Pair { first: poll_of(source, libc::POLLIN), second: poll_of(other, 0) };
        let limit = if is_part { REST } else { AGAIN };
        let is_over = wait(&mut fds, if is_part || other < 0 { limit } else { 0 });
        if fds.second.revents != 0 {
            close(other);
            other = -1;
        } else if is_part {
            forget_edge(&places);
            found = relay(&places, &mut way, other, is_over);
        } else if fds.first.revents != 0 {
            found = relay(&places, &mut way, other, fds.first.revents & libc::POLLHUP != 0);
        }
    }
    // SAFETY: the byte is in the buffer.
    unsafe { call(libc::SYS_write, other as usize, places.buffer, 1, 0, 0, 0) };
    exit(0)
}

/// Moves some of what is in the pipe: whole lines, if not `all`.
#[inline(always)]
fn relay(places: &Places, way: &mut u8, other: i32, all: bool) -> u8 {
    if *way != DROPPED {
        // Otherwise the pipe would be locked until the journal has room, and whoever writes to it could not be killed.
        let mut fds = Pair { first: poll_of(OUTPUT, libc::POLLOUT), second: poll_of(other, 0) };
        wait(&mut fds, if other < 0 { AGAIN } else { 0 });
        if fds.first.revents == 0 {
            return SOME;
        }
    }
    let mut length = CHUNK;
    if *way == MOVED {
        let lines = lines(places);
        if lines == 0 && !all && !is_closed() {
            return PART;
        }
        if lines != 0 {
            length = lines;
        }
    }
    let moved = if *way == MOVED {
        // SAFETY: it does nothing to memory.
        unsafe { call(libc::SYS_splice, INPUT as usize, 0, OUTPUT as usize, 0, length, 0) }
    } else {
        copy(places.buffer, *way == COPIED)
    };
    if is_error(moved) {
        *way = if moved == -(libc::EINVAL as isize) && *way == MOVED { COPIED } else { DROPPED };
    }
    if moved == 0 { END } else { SOME }
}

/// How far the whole lines in the pipe go that can be moved at once; 0 if there is only a part of one. A line that is
/// longer than that counts as whole.
#[inline(always)]
fn lines(places: &Places) -> usize {
    // What one that was killed may have left.
    while look(places) > 0 {}
    let (from, to) = (INPUT as usize, places.copies.second as usize);
    // SAFETY: it does nothing to memory.
    let there = unsafe { call(libc::SYS_tee, from, to, CHUNK, libc::SPLICE_F_NONBLOCK as usize, 0, 0) };
    let (mut seen, mut end): (usize, usize) = (0, 0);
    while (seen as isize) < there {
        let length = look(places);
        if length <= 0 {
            break;
        }
        let mut at = length as usize;
        while at > 0 {
            at = at.wrapping_sub(1);
            // SAFETY: so much was read to the buffer.
            if unsafe { *(places.buffer.wrapping_add(at) as *const u8) } == NEWLINE {
                end = seen.wrapping_add(at).wrapping_add(1);
                break;
            }
        }
        seen = seen.wrapping_add(length as usize);
    }
    if end == 0 && seen == CHUNK { CHUNK } else { end }
}

/// Reads what is next in the copy.
#[inline(always)]
fn look(places: &Places) -> isize {
    // SAFETY: the kernel writes to the buffer, which is as long as that.
    unsafe { call(libc::SYS_read, places.copies.first as usize, places.buffer, BUFFER, 0, 0, 0) }
}

/// Whether nobody can write to the pipe any longer.
#[inline(always)]
fn is_closed() -> bool {
    let mut fds = Pair { first: poll_of(INPUT, 0), second: poll_of(-1, 0) };
    let mut limit = Pair { first: 0isize, second: 0isize };
    // SAFETY: the kernel writes to these two, and does not wait.
    unsafe { call(libc::SYS_ppoll, &raw mut fds as usize, 2, &raw mut limit as usize, 0, 8, 0) };
    fds.first.revents != 0
}

/// Has the epoll instance tell of what is written from now on only.
#[inline(always)]
fn forget_edge(places: &Places) {
    // SAFETY: the kernel writes one event to the buffer, and does not wait.
    unsafe { call(libc::SYS_epoll_pwait, places.edges as usize, places.buffer, 1, 0, 0, 8) };
}

/// Reads, and writes what was read if that is wanted.
#[inline(always)]
fn copy(buffer: usize, is_wanted: bool) -> isize {
    // SAFETY: the kernel writes to the buffer, which is as long as that.
    let read = unsafe { call(libc::SYS_read, INPUT as usize, buffer, BUFFER, 0, 0, 0) };
    let mut written: isize = 0;
    while is_wanted && written < read {
        let (start, length) = (buffer.wrapping_add(written as usize), read.wrapping_sub(written) as usize);
        // SAFETY: so much was read.
        let result = unsafe { call(libc::SYS_write, OUTPUT as usize, start, length, 0, 0, 0) };
        if is_error(result) {
            return result;
        }
        if result > 0 {
            written = written.wrapping_add(result);
        }
    }
    read
}

/// Whether a call failed for good.
#[inline(always)]
fn is_error(result: isize) -> bool {
    result < 0 && result != -(libc::EAGAIN as isize) && result != -(libc::EINTR as isize)
}

/// Makes the second process; returns what connects both, or -1 if there is none. Where the first one was killed, this
/// returns in the second one, which is the first from then on.
#[inline(always)]
fn second(places: &Places) -> i32 {
    loop {
        let mut ends = Pair { first: 0i32, second: 0i32 };
        let (domain, kind) = (libc::AF_UNIX as usize, libc::SOCK_STREAM as usize);
        // SAFETY: the kernel writes two numbers.
        if unsafe { call(libc::SYS_socketpair, domain, kind, 0, &raw mut ends as usize, 0, 0) } < 0 {
            return -1;
        }
        let child = fork();
        if child != 0 {
            close(ends.second);
            if child < 0 {
                close(ends.first);
                return -1;
            }
            return ends.first;
        }
        close(ends.first);
        call_it(places, 1);
        let mut fds = Pair { first: poll_of(ends.second, libc::POLLIN), second: poll_of(-1, 0) };
        while fds.first.revents == 0 {
            wait(&mut fds, 0);
        }
        // The first process says when it is done; otherwise it is gone.
        // SAFETY: the kernel writes one byte to the buffer.
        if unsafe { call(libc::SYS_read, ends.second as usize, places.buffer, 1, 0, 0, 0) } > 0 {
            exit(0);
        }
        close(ends.second);
        call_it(places, 0);
    }
}

/// Gives this process the names of the first or the second one.
#[inline(always)]
fn call_it(places: &Places, which: usize) {
    // SAFETY: the names are in the state, and the first argument is as long as a title.
    unsafe {
        let comm = places.comms.wrapping_add(which.wrapping_mul(16));
        call(libc::SYS_prctl, libc::PR_SET_NAME as usize, comm, 0, 0, 0, 0);
        let title = places.titles.wrapping_add(which.wrapping_mul(TITLE));
        let mut at: usize = 0;
        while places.title != 0 && at < TITLE {
            *(places.title.wrapping_add(at) as *mut u8) = *(title.wrapping_add(at) as *const u8);
            at = at.wrapping_add(1);
        }
    }
}

#[inline(always)]
fn poll_of(fd: i32, events: i16) -> pollfd {
    pollfd { fd, events, revents: 0 }
}

/// Waits for one of two things, or for so many seconds if that is not 0; returns whether these are over.
#[inline(always)]
fn wait(fds: &mut Pair<pollfd>, seconds: isize) -> bool {
    let mut limit = Pair { first: seconds, second: 0 };
    let limit = if seconds != 0 { &raw mut limit as usize } else { 0 };
    // SAFETY: the kernel writes to these two, and to the limit.
    unsafe { call(libc::SYS_ppoll, &raw mut *fds as usize, 2, limit, 0, 8, 0) == 0 }
}
