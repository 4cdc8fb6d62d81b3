//! syscontainer-relay, by itself: what it moves, what it takes, and what becomes of it when it is killed.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

struct Relay {
    first: Child,
    pipe: Option<fs::File>,
    /// The other end, as systemd keeps it.
    kept: fs::File,
    journal: UnixStream,
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn name_of(pid: i32) -> String {
    let title = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    title.split('\0').next().unwrap_or_default().to_owned()
}

fn is_gone(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// The process in reserve, once it waits.
fn second(of: i32) -> i32 {
    let mut found = 0;
    wait_until("there is a second process", || {
        let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
        let mut waiting = children.split_whitespace().map(|pid| pid.parse().unwrap());
        found = waiting.rfind(|pid| name_of(*pid) == "(output, stand-by)").unwrap_or(0);
        found != 0
    });
    found
}

impl Relay {
    fn run() -> Relay {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let (journal, output) = UnixStream::pair().unwrap();
        journal.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_syscontainer-relay"));
        command.arg0("syscontainer-relay").arg("web");
        let kept = read.try_clone().unwrap().into();
        let first = command.process_group(0).stdin(read).stdout(OwnedFd::from(output)).spawn().unwrap();
        Relay { first, pipe: Some(write.into()), kept, journal }
    }

    fn write(&self, text: &str) {
        self.pipe.as_ref().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn expect(&mut self, text: &str) {
        let mut read = vec![0; text.len()];
        self.journal.read_exact(&mut read).unwrap();
        assert_eq!(String::from_utf8_lossy(&read), text);
    }

    /// Fails if something comes soon.
    fn expect_nothing(&mut self) {
        self.journal.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let error = self.journal.read(&mut [0; 99]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        self.journal.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    }

    /// Closes the pipe; returns the rest of the output.
    fn end(&mut self) -> Vec<u8> {
        self.pipe = None;
        let mut rest = Vec::new();
        self.journal.read_to_end(&mut rest).unwrap();
        rest
    }

    fn first(&self) -> i32 {
        self.first.id().try_into().unwrap()
    }
}

fn end(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

#[test]
fn everything_arrives_and_both_end() {
    let mut relay = Relay::run();
    relay.write("one\n\0\n");
    relay.expect("one\n\0\n");
    let other = second(relay.first());
    let pipe = relay.pipe.take().unwrap();
    // More than a pipe and a socket have room for.
    let writer = std::thread::spawn(move || {
        for number in 0..400_000 {
            writeln!(&pipe, "{number}").unwrap();
        }
    });
    let text = String::from_utf8(relay.end()).unwrap();
    writer.join().unwrap();
    assert!(text.lines().enumerate().all(|(number, line)| line == number.to_string()));
    assert_eq!(text.lines().count(), 400_000);
    assert!(relay.first.wait().unwrap().success());
    wait_until("the second ends", || is_gone(other));
}

#[test]
fn it_is_not_far_ahead_of_the_journal() {
    let mut relay = Relay::run();
    let pipe = relay.pipe.take().unwrap();
    nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
    let (mut written, begin) = (0, Instant::now());
    // Nobody reads from the journal.
    while begin.elapsed() < Duration::from_secs(1) {
        match (&pipe).write(&[b'x'; 1000]) {
            Ok(more) => written += more,
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    assert!((64 << 10..256 << 10).contains(&written), "{written} bytes");
    drop(pipe);
    assert_eq!(relay.end().len(), written);
}

#[test]
fn it_takes_little() {
    let mut relay = Relay::run();
    relay.write("one\n");
    relay.expect("one\n");
    for pid in [relay.first(), second(relay.first())] {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        let status = read("status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident: u32 = resident.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        let is_small = cfg!(not(any(target_arch = "x86_64", target_arch = "aarch64"))) || resident <= 300;
        assert!(is_small, "{resident} KiB: {}", read("smaps"));
        let ticks =
            || read("stat").rsplit_once(')').unwrap().1.split(' ').skip(11).take(3).collect::<String>();
        let before = ticks();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(ticks(), before, "it sleeps");
    }
    assert_eq!(relay.end(), b"");
}

#[test]
fn whoever_is_killed_is_replaced() {
    let mut relay = Relay::run();
    let mut first = relay.first();
    for round in 0..5 {
        let other = second(first);
        end(other);
        wait_until("another second", || second(first) != other);
        let heir = second(first);
        end(first);
        relay.write(&format!("round {round}\n"));
        relay.expect(&format!("round {round}\n"));
        assert_eq!(name_of(heir), "syscontainer-relay");
        first = heir;
    }
    let other = second(first);
    assert_eq!(relay.end(), b"");
    wait_until("both end", || is_gone(first) && is_gone(other));
    relay.first.wait().unwrap();
}

#[test]
fn a_line_is_moved_as_a_whole() {
    let mut relay = Relay::run();
    relay.write("one\ntw");
    relay.expect("one\n");
    relay.expect_nothing();
    let ticks = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(')').unwrap().1.split(' ').skip(11).take(3).collect::<String>()
    };
    let before = ticks(relay.first());
    relay.expect_nothing();
    assert_eq!(ticks(relay.first()), before, "it sleeps");
    relay.write("o\nthr");
    relay.expect("two\n");
    let heir = second(relay.first());
    end(relay.first());
    wait_until("the second takes its place", || name_of(heir) == "syscontainer-relay");
    relay.expect_nothing();
    relay.write("ee\n");
    relay.expect("three\n");
    // More than it can see at once, and what is no line at the end.
    relay.write(&"x".repeat(40_000));
    relay.write("y");
    relay.expect(&"x".repeat(32_768));
    relay.expect_nothing();
    assert_eq!(relay.end(), format!("{}y", "x".repeat(40_000 - 32_768)).into_bytes());
}

#[test]
fn the_rest_of_a_line_is_not_waited_for_for_ever() {
    let mut relay = Relay::run();
    relay.write("part");
    relay.expect("part");
    relay.write(" and end\n");
    relay.expect(" and end\n");
    assert_eq!(relay.end(), b"");
}

#[test]
fn whoever_is_killed_leaves_whole_lines() {
    for round in 0..30 {
        let mut relay = Relay::run();
        second(relay.first());
        let pipe = relay.pipe.take().unwrap();
        let flag = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
        nix::fcntl::fcntl(&relay.kept, flag).unwrap();
        let writer = std::thread::spawn(move || {
            let text: String =
                (0..40_000).map(|number| format!("{number}{}\n", "-".repeat(number % 70))).collect();
            // As programs with a buffer do, whose writes end anywhere; until nobody reads.
            text.as_bytes().chunks(4096).all(|chunk| (&pipe).write_all(chunk).is_ok());
            text
        });
        let mut moved = vec![0; 50_000 + round * 7_919];
        relay.journal.read_exact(&mut moved).unwrap();
        killpg(Pid::from_raw(relay.first()), Signal::SIGKILL).unwrap();
        relay.journal.read_to_end(&mut moved).unwrap();
        assert_eq!(moved.last(), Some(&b'\n'), "round {round}");
        let _ = relay.kept.read_to_end(&mut moved);
        drop(relay);
        let text = writer.join().unwrap();
        assert!(text.as_bytes().starts_with(&moved), "round {round}");
    }
}

#[test]
fn other_signals_change_nothing() {
    let mut relay = Relay::run();
    relay.write("one\n");
    relay.expect("one\n");
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1] {
        kill(Pid::from_raw(relay.first()), signal).unwrap();
        kill(Pid::from_raw(second(relay.first())), signal).unwrap();
    }
    relay.write("two\n");
    relay.expect("two\n");
    assert_eq!(relay.end(), b"");
    assert!(relay.first.wait().unwrap().success());
}

#[test]
fn a_payload_goes_on_without_a_journal() {
    let mut relay = Relay::run();
    relay.write("one\n");
    relay.expect("one\n");
    let (gone, _) = UnixStream::pair().unwrap();
    drop(std::mem::replace(&mut relay.journal, gone));
    for _ in 0..10 {
        relay.write(&"x".repeat(60_000));
    }
    relay.pipe = None;
    assert!(relay.first.wait().unwrap().success());
}

#[test]
fn a_file_is_written_to_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let file = fs::OpenOptions::new().append(true).create(true).open(&path).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_syscontainer-relay"));
    let mut child = command.arg("web").stdin(Stdio::piped()).stdout(file).spawn().unwrap();
    let text = "line\n".repeat(50_000);
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn only_a_pipe_is_read() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syscontainer-relay"));
    let output =
        command.arg("web").stdin(Stdio::null()).env("SYSTEMD_LOG_TARGET", "console").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("cannot relay: standard input is not a pipe"), "{message}");
}
