//! A repository in a directory of its own, and the real program that pulls into it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ostree::gio::{self, FileQueryInfoFlags, prelude::*};
use syscontainers::image::tree::Tree;
use syscontainers::paths::Root;
use syscontainers::store::Store;
use tempfile::TempDir;
use walkdir::WalkDir;

use super::layout::Layout;

const PULL: &str = env!("CARGO_BIN_EXE_syscontainer-pull");
/// Nothing here takes that long unless it hangs.
const LIMIT: Duration = Duration::from_secs(900);

/// What one run did.
#[derive(Debug)]
pub struct Outcome {
    /// Exit status; `None` for a signal.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// Most memory that it had, in KiB.
    pub memory: u64,
}

/// Where images are, and what pulls them. Without the variables these are layouts, and the program that Cargo built.
pub struct Host {
    dir: TempDir,
    pull: PathBuf,
    registry: Option<Registry>,
}

/// A registry on this machine, and the directory that it keeps its files in: what it would not take is put there.
struct Registry {
    address: String,
    /// Of this test's images: others run beside.
    namespace: String,
    storage: PathBuf,
}

impl Host {
    /// `None`, and the reason printed, where the test cannot run.
    pub fn new() -> Option<Host> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root can give files their owners");
            return None;
        }
        let set = |key: &str| std::env::var(format!("SYSCONTAINERS_TEST_{key}")).ok();
        // Not in /tmp, which may have no extended attributes.
        let dir = set("DIRECTORY").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
        let registry = set("REGISTRY").map(|address| {
            let storage = set("REGISTRY_STORAGE").unwrap().into();
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let namespace = format!("test{}", COUNT.fetch_add(1, Ordering::Relaxed));
            Registry { address, namespace, storage }
        });
        let pull = set("PULL").unwrap_or_else(|| PULL.into()).into();
        let host = Host { dir: TempDir::new_in(dir).unwrap(), pull, registry };
        fs::create_dir(host.path("canary")).unwrap();
        Some(host)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn repo(&self) -> PathBuf {
        self.path("repo")
    }

    pub fn command(&self, image: &str) -> Command {
        let mut command = Command::new(&self.pull);
        command.arg(format!("--repo={}", self.repo().display())).arg(image);
        command.env_remove("JOURNAL_STREAM").env_remove("SYSTEMD_SCOPE").current_dir(self.path("canary"));
        command
    }

    /// Runs a command to its end, which must come in time.
    pub fn run(&self, mut command: Command) -> Outcome {
        let (out, err) = (self.path("stdout"), self.path("stderr"));
        command.stdin(Stdio::null()).stdout(fs::File::create(&out).unwrap());
        let mut child = command.stderr(fs::File::create(&err).unwrap()).spawn().unwrap();
        let (start, mut memory) = (Instant::now(), 0);
        let status = loop {
            let state = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let peak = state.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let peak = peak.map_or(0, |line| line.trim().trim_end_matches(" kB").parse().unwrap());
            memory = memory.max(peak);
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > LIMIT {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{command:?} hangs: {}", fs::read_to_string(&err).unwrap());
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let text = |path: &Path| String::from_utf8(fs::read(path).unwrap()).unwrap();
        // The sources of the tests may be where others can change them, for example below /tmp.
        let warning = "so containers are not updated from there";
        let stderr = text(&err)
            .lines()
            .filter(|line| !line.ends_with(warning))
            .map(|line| format!("{line}\n"))
            .collect();
        Outcome { status: status.code(), stdout: text(&out), stderr, memory }
    }

    /// What an image is called in the store.
    pub fn name(&self, name: &str) -> String {
        match &self.registry {
            Some(registry) => format!("{}/{}/{name}:latest", registry.address, registry.namespace),
            None => format!("oci:{}", self.path(name).display()),
        }
    }

    /// Writes an image called `name` and returns what it is pulled as.
    pub fn write(&self, name: &str, layout: &Layout) -> String {
        if let Some(registry) = &self.registry {
            layout.write_to_registry(&registry.storage, &format!("{}/{name}", registry.namespace));
            return self.name(name);
        }
        let directory = self.path(name);
        let _ = fs::remove_dir_all(&directory);
        layout.write(&directory);
        format!("oci:{}", directory.display())
    }

    /// Pulls what must work.
    pub fn pull(&self, image: &str) -> Outcome {
        let outcome = self.run(self.command(image));
        assert_eq!(outcome.status, Some(0), "{image}: {outcome:?}");
        outcome
    }

    pub fn store(&self) -> Store {
        Store::open(&Root::default(), Some(&self.repo())).unwrap()
    }

    /// Checks an image out, in the place of the checkout before.
    pub fn checkout(&self, image: &str) -> PathBuf {
        let (store, target) = (self.store(), self.path("checkout"));
        let _ = fs::remove_dir_all(&target);
        store.tree(&store.find(image).unwrap()).checkout(&target).unwrap();
        target
    }

    /// Pulls a layout and checks it out.
    pub fn unpack(&self, name: &str, layout: &Layout) -> PathBuf {
        let image = self.write(name, layout);
        self.pull(&image);
        self.checkout(&image)
    }

    /// What `ostree` says; it must not fail.
    pub fn ostree(&self, args: &[&str]) -> String {
        let repo = format!("--repo={}", self.repo().display());
        let output = Command::new("ostree").arg(repo).args(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "ostree {args:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// The repository is whole.
    pub fn fsck(&self) {
        self.ostree(&["fsck", "--quiet"]);
    }

    /// Everything in the test's directory other than the repository, but for what runs leave there.
    pub fn outside(&self) -> Vec<PathBuf> {
        let walk = WalkDir::new(self.dir.path()).sort_by_file_name().into_iter();
        let walk = walk.filter_entry(|entry| entry.path() != self.repo()).map(|entry| entry.unwrap());
        walk.map(|entry| entry.into_path()).collect()
    }

    /// Files of the repository with inode and size: what a pull that writes nothing leaves as it is.
    pub fn inside(&self) -> BTreeMap<PathBuf, (u64, u64, i64)> {
        let walk = WalkDir::new(self.repo()).into_iter().map(|entry| entry.unwrap());
        walk.map(|entry| {
            let metadata = entry.path().symlink_metadata().unwrap();
            (entry.into_path(), (metadata.ino(), metadata.size(), metadata.mtime()))
        })
        .collect()
    }
}

/// What a tree holds: `path MODE UID:GID`, and content or target if they are short.
pub fn listing(root: &Path) -> Vec<String> {
    let walk = WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter().map(|entry| entry.unwrap());
    walk.map(|entry| {
        let metadata = entry.path().symlink_metadata().unwrap();
        let path = entry.path().strip_prefix(root).unwrap().display().to_string();
        let head = format!("{:04o} {}:{}", metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
        if metadata.is_dir() {
            format!("{path}/ {head}")
        } else if metadata.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            format!("{path} {}:{} -> {}", metadata.uid(), metadata.gid(), target.display())
        } else if metadata.file_type().is_fifo() || metadata.len() > 80 {
            format!("{path} {head} ({} bytes)", metadata.len())
        } else {
            format!("{path} {head} {}", String::from_utf8_lossy(&fs::read(entry.path()).unwrap()))
                .trim()
                .into()
        }
    })
    .collect()
}

/// Paths in a tree with the content of files: `a/b=content`; directories end in `/`.
pub fn contents(root: &Path) -> String {
    let walk = WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter().map(|entry| entry.unwrap());
    let paths = walk.map(|entry| {
        let path = entry.path().strip_prefix(root).unwrap().display().to_string();
        if entry.file_type().is_dir() {
            return format!("{path}/");
        }
        format!("{path}={}", fs::read_to_string(entry.path()).unwrap())
    });
    paths.collect::<Vec<_>>().join(" ")
}

/// An extended attribute; `None` where there is none.
pub fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    // GIO calls `user.x` so, and others by their whole names; bytes that are no ASCII text are `\xNN`.
    let attribute = match name.strip_prefix("user.") {
        Some(name) => format!("xattr::{}", escaped(name.as_bytes())),
        None => format!("xattr-sys::{name}"),
    };
    let info = gio::File::for_path(path)
        .query_info(&attribute, FileQueryInfoFlags::NOFOLLOW_SYMLINKS, gio::Cancellable::NONE)
        .unwrap();
    let text = info.attribute_as_string(&attribute)?;
    let mut parts = text.split("\\x");
    let mut value = parts.next()?.as_bytes().to_vec();
    for part in parts {
        value.push(u8::from_str_radix(&part[..2], 16).unwrap());
        value.extend_from_slice(&part.as_bytes()[2..]);
    }
    Some(value)
}

fn escaped(name: &[u8]) -> String {
    let byte =
        |byte: &u8| if byte.is_ascii() { char::from(*byte).to_string() } else { format!("\\x{byte:02x}") };
    name.iter().map(byte).collect()
}
