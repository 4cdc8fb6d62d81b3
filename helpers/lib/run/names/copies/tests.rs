use super::*;
use crate::paths::Root;
use crate::system::kill_point::testing::kill_after;

/// A container that was started on a host with these hosts.
struct Case {
    dir: tempfile::TempDir,
    copies: Copies,
}

const OWN_LINES: &str = "127.0.1.1 web\n";

impl Case {
    fn new(hosts: &str) -> Case {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("host/etc")).unwrap();
        let copies = Copies::of(&dir.path().join("scratch"), &dir.path().join("bundle"));
        let case = Case { dir, copies };
        case.start(hosts);
        case
    }

    fn start(&self, hosts: &str) {
        for directory in [&self.copies.made, &self.copies.kept] {
            let _ = fs::remove_dir_all(directory);
        }
        let _lock = self.copies.make().unwrap();
        self.copies.set_own(OWN_LINES.as_bytes()).unwrap();
        let host = self.host(hosts);
        for file in FILES {
            let content = host.content(file, OWN_LINES.as_bytes()).unwrap_or_else(|| b"web\n".to_vec());
            self.copies.put(file, &content, None).unwrap();
        }
    }

    /// What the host has, with these hosts.
    fn host(&self, hosts: &str) -> HostFiles {
        fs::write(self.dir.path().join("host/etc/hosts"), hosts).unwrap();
        HostFiles::read(&Root::new(self.dir.path().join("host"))).unwrap()
    }

    fn update(&self, hosts: &str) -> Result<()> {
        self.copies.update(&self.host(hosts))
    }

    fn path(&self) -> PathBuf {
        self.copies.made.join("hosts")
    }

    fn hosts(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    fn with_own(&self, hosts: &str) -> String {
        format!("{hosts}127.0.0.1 localhost\n::1 localhost\n{OWN_LINES}")
    }
}

#[test]
fn the_hosts_changes_come_to_the_same_file() {
    let case = Case::new("a\n");
    assert_eq!(case.hosts(), case.with_own("a\n"));
    let inode = fs::metadata(case.path()).unwrap().ino();
    for hosts in ["a\nb\n", "", "c\n", "c\n"] {
        case.update(hosts).unwrap();
        assert_eq!(case.hosts(), case.with_own(hosts));
    }
    assert_eq!(fs::metadata(case.path()).unwrap().ino(), inode);
    // A line that has no end gets one, and nothing else is the host's.
    case.update("d").unwrap();
    assert_eq!(case.hosts(), case.with_own("d\n"));
    assert_eq!(fs::read(case.copies.made.join("hostname")).unwrap(), b"web\n");
    assert!(!case.copies.kept.join("hosts.new").exists());
}

#[test]
fn what_the_payload_changed_is_the_payloads() {
    let case = Case::new("a\n");
    assert_eq!(case.copies.changed(), 0);
    let theirs = case.hosts() + "192.0.2.1 db\n";
    fs::write(case.path(), &theirs).unwrap();
    case.update("b\n").unwrap();
    assert_eq!(case.hosts(), theirs);
    assert_eq!(case.copies.changed(), fs::metadata(case.path()).unwrap().blocks() * BLOCK);
    // Of the same length, too, and whatever its times say.
    case.start("a\n");
    let theirs = case.hosts().replace('a', "x");
    let times = fs::metadata(case.path()).unwrap();
    fs::write(case.path(), &theirs).unwrap();
    let file = File::options().write(true).open(case.path()).unwrap();
    file.set_modified(times.modified().unwrap()).unwrap();
    case.update("b\n").unwrap();
    assert_eq!(case.hosts(), theirs);
    assert!(case.copies.changed() > 0);
    // What it gives back is the host's again.
    fs::write(case.path(), case.with_own("a\n")).unwrap();
    case.update("b\n").unwrap();
    assert_eq!(case.hosts(), case.with_own("b\n"));
    // A file as large as it can be is not read.
    file.set_len(1 << 40).unwrap();
    case.update("c\n").unwrap();
    assert_eq!(fs::metadata(case.path()).unwrap().len(), 1 << 40);
}

#[test]
fn what_is_no_copy_stays() {
    let case = Case::new("a\n");
    fs::remove_file(case.copies.kept.join("hosts")).unwrap();
    case.update("b\n").unwrap();
    assert_eq!(case.hosts(), case.with_own("a\n"));
    case.start("a\n");
    // Nobody but root can do that, and it is not followed all the same.
    fs::write(case.dir.path().join("victim"), case.hosts()).unwrap();
    fs::remove_file(case.path()).unwrap();
    std::os::unix::fs::symlink(case.dir.path().join("victim"), case.path()).unwrap();
    let error = case.update("b\n").unwrap_err().to_string();
    assert!(error.starts_with("cannot update its /etc/hosts: cannot open "), "{error}");
    assert_eq!(fs::read_to_string(case.dir.path().join("victim")).unwrap(), case.with_own("a\n"));
    fs::remove_file(case.path()).unwrap();
    case.update("b\n").unwrap();
    assert!(!case.path().exists());
}

#[test]
fn a_lease_is_not_waited_for() {
    use std::os::fd::AsRawFd;
    const F_SETLEASE: i32 = 1024;
    let case = Case::new("a\n");
    let theirs = File::open(case.path()).unwrap();
    // SAFETY: this takes no pointer. The signal by which the kernel asks for the lease back is ignored.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(libc::SIGIO, libc::SIG_IGN);
        assert_eq!(libc::fcntl(theirs.as_raw_fd(), F_SETLEASE, libc::F_RDLCK), 0);
    }
    let error = case.update("b\n").unwrap_err().to_string();
    assert!(error.starts_with("cannot update its /etc/hosts: its payload holds a lease on it"), "{error}");
    assert_eq!(case.hosts(), case.with_own("a\n"));
    drop(theirs);
    case.update("b\n").unwrap();
    assert_eq!(case.hosts(), case.with_own("b\n"));
}

#[test]
fn killed_anywhere_it_is_completed_by_the_next_one() {
    let (old, new) = ("a\nbb\nccc\n", "x\n");
    for (from, to) in [(old, new), (new, old)] {
        let mut steps = 0;
        loop {
            let case = Case::new(from);
            let is_done = kill_after(steps, || case.update(to)).is_some();
            let left = case.hosts();
            let padded = case.with_own(to) + &"\n".repeat(from.len().saturating_sub(to.len()));
            assert!([case.with_own(from), case.with_own(to), padded].contains(&left), "{steps}: {left:?}");
            // What the host has by then need not be what it had.
            for hosts in [to, "z\nz\n"] {
                case.update(hosts).unwrap();
                assert_eq!(case.hosts(), case.with_own(hosts), "{steps}");
            }
            assert!(!case.copies.kept.join("hosts.new").exists());
            if is_done {
                break;
            }
            steps += 1;
        }
        assert!(steps > 3, "{steps}");
    }
}

#[test]
fn what_a_killed_one_left_is_told_from_what_the_payload_wrote() {
    let ours = |found: &str| is_ours(found.as_bytes(), b"aaaa\n", Some(b"bb\n"));
    for found in ["aaaa\n", "baaa\n", "bb\na\n", "bb\n\n\n", "bb\n"] {
        assert!(ours(found), "{found:?}");
    }
    for found in ["aaaa\nx", "aaaac", "bb", "bbb\n\n", ""] {
        assert!(!ours(found), "{found:?}");
    }
    assert!(is_ours(b"a", b"a", None) && !is_ours(b"b", b"a", None));
}

#[test]
fn a_copy_has_the_label_of_the_payloads_files() {
    let case = Case::new("a\n");
    let label = "system_u:object_r:container_file_t:s0:c1,c2";
    fs::remove_dir_all(&case.copies.made).unwrap();
    fs::remove_dir_all(&case.copies.kept).unwrap();
    drop(case.copies.make().unwrap());
    match case.copies.put("hosts", b"a\n", Some(label)) {
        Err(e) if !nix::unistd::geteuid().is_root() => {
            return eprintln!("skipped: only root sets labels: {e}");
        }
        put => put.unwrap(),
    };
    let mut found = [0; 128];
    let length = rustix::fs::getxattr(case.path(), "security.selinux", &mut found).unwrap();
    assert_eq!(&found[..length], format!("{label}\0").as_bytes());
    // It stays when the host changes.
    case.update("::1 localhost\n").unwrap();
    assert_eq!(case.hosts(), "::1 localhost\n");
    assert_eq!(rustix::fs::getxattr(case.path(), "security.selinux", &mut found).unwrap(), length);
}

#[test]
fn without_room_the_old_content_stays() {
    let case = Case::new("a\n");
    let file = File::options().read(true).write(true).open(case.path()).unwrap();
    let old = case.hosts();
    // No file is that large.
    assert!(reserve(&file, usize::MAX >> 1).is_err());
    assert_eq!(case.hosts(), old);
}
