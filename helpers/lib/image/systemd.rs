//! Payloads that are systemd: how they are recognised, and what they have that others do not, as with the option
//! `--systemd` of podman-run(1).
//!
//! As process 1, systemd wants file systems in memory in some places, and a cgroup of its own in which it makes others. That
//! is below the cgroup of the unit, see [`crate::system::cgroup`], so the limits of the unit hold for all of them.

use std::path::Path;

use crate::container::keys::systemd::{KEY, Mode};
use crate::container::settings::Settings;
use crate::error::{Error, Result};
use crate::paths::Root;

/// The signal that has systemd shut down; to SIGTERM, it starts itself again.
pub const STOP_SIGNAL: &str = "SIGRTMIN+3";

/// Programs that are systemd, whatever is in the image there.
const INITS: [&str; 3] = ["/sbin/init", "/usr/sbin/init", "/usr/local/sbin/init"];
/// Where nothing is to be left from another boot.
const FORGETTING: [&str; 3] = ["/run", "/run/lock", "/tmp"];
/// Where the cgroups of the host are.
const CGROUP: &str = "/sys/fs/cgroup";

/// Whether a payload with this command is taken for systemd.
pub fn is_payload(args: &[&String], settings: &Settings) -> Result<bool> {
    let mode = settings.last(KEY).map(Mode::parse).transpose()?.unwrap_or_default();
    // There it is not process 1, and does not run as the system's manager.
    let is_first = !settings.shares("PidNamespace");
    let is_payload = match mode {
        Mode::Always if !is_first => {
            return Err(Error::new(
                "Systemd=always cannot be set with PidNamespace=host, in which systemd is not process 1",
            ));
        }
        Mode::Always => true,
        Mode::Auto => is_first && is_command(args),
        Mode::No => false,
    };
    Ok(is_payload)
}

/// Fails if a host cannot give systemd as a payload what it needs.
pub fn check_host(root: &Root) -> Result<()> {
    if has_other_cgroups(root) {
        return Err(Error::new(format!(
            "its command is systemd, which can have cgroups of its own only on a host with cgroup version 2 at {CGROUP}, see systemd.unified_cgroup_hierarchy in kernel-command-line(7); with -o Systemd=no, it gets none"
        )));
    }
    Ok(())
}

/// Whether a volume of such a payload is one. Many images declare some where systemd has a file system in memory; what
/// is mounted there otherwise is for the administrator to say.
pub fn keeps(volume: &Path, settings: &Settings) -> bool {
    let is_forgetting = FORGETTING.iter().any(|path| volume == Path::new(path));
    !is_forgetting || settings.mounts().iter().any(|own| own.destination == volume)
}

/// Whether a command is systemd, as podman has it: the program, or what a shell is to run.
pub fn is_command(args: &[impl AsRef<str>]) -> bool {
    let arg = |at: usize| args.get(at).map(AsRef::as_ref);
    let of_shell = args.len() > 2 && arg(0) == Some("/bin/sh") && arg(1) == Some("-c");
    let Some(program) = arg(if of_shell { 2 } else { 0 }) else { return false };
    let is_systemd = Path::new(program).file_name().is_some_and(|name| name == "systemd");
    INITS.contains(&program) || is_systemd
}

/// Whether a host has cgroups, and not of version 2 alone. Where an image is installed into a tree, there are none yet.
fn has_other_cgroups(root: &Root) -> bool {
    let directory = root.join(CGROUP);
    let has_some = std::fs::read_dir(&directory).is_ok_and(|mut entries| entries.next().is_some());
    has_some && !directory.join("cgroup.controllers").exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn it_is_recognised_as_by_podman() {
        let is = |args: &[&str]| is_command(args);
        for args in [
            &["/sbin/init"][..],
            &["/usr/sbin/init", "--log-level=debug"],
            &["/usr/local/sbin/init"],
            &["/lib/systemd/systemd"],
            &["systemd"],
            &["/bin/sh", "-c", "/sbin/init"],
            &["/bin/sh", "-c", "/usr/lib/systemd/systemd", "x"],
        ] {
            assert!(is(args), "{args:?}");
        }
        for args in [
            &[][..],
            &["/init"],
            &["/bin/sh", "-c"],
            &["/bin/sh", "-c", "exec /sbin/init"],
            &["sh", "-c", "/sbin/init"],
            &["/usr/bin/tini", "/sbin/init"],
            &["/bin/systemd-x"],
        ] {
            assert!(!is(args), "{args:?}");
        }
    }

    #[test]
    fn nothing_is_left_from_another_boot_unless_an_administrator_wants_it() {
        let kept = |path: &str, texts: &[&str]| keeps(Path::new(path), &Settings::of(texts));
        for path in ["/run", "/run/lock", "/tmp"] {
            assert!(!kept(path, &["Volume=/data"]), "{path}");
        }
        assert!(kept("/var/log/journal", &[]) && kept("/run/app", &[]) && kept("/data", &[]));
        assert!(kept("/tmp", &["Volume=/tmp"]) && kept("/run", &["Tmpfs=/run"]));
    }

    #[test]
    fn an_administrator_decides() {
        let is = |program: &str, texts: &[&str]| {
            is_payload(&[&program.to_owned()], &Settings::of(texts)).map_err(|e| e.to_string())
        };
        assert_eq!(is("/sbin/init", &[]), Ok(true));
        assert_eq!(is("/sbin/init", &["Systemd=auto"]), Ok(true));
        assert_eq!(is("/sbin/init", &["Systemd=no"]), Ok(false));
        assert_eq!(is("/sbin/init", &["PidNamespace=host"]), Ok(false));
        assert_eq!(is("/app", &[]), Ok(false));
        assert_eq!(is("/app", &["Systemd=always"]), Ok(true));
        let both = is("/app", &["Systemd=always", "PidNamespace=host"]).unwrap_err();
        assert!(both.starts_with("Systemd=always cannot be set with PidNamespace=host"), "{both}");
    }

    #[test]
    fn a_host_has_cgroups_of_version_2_alone_or_is_no_host_yet() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        check_host(&root).unwrap();
        let cgroups = dir.path().join("sys/fs/cgroup");
        fs::create_dir_all(&cgroups).unwrap();
        check_host(&root).unwrap();
        fs::create_dir(cgroups.join("memory")).unwrap();
        let refused = check_host(&root).unwrap_err().to_string();
        assert!(
            refused.starts_with("its command is systemd, which can have cgroups of its own only on"),
            "{refused}"
        );
        fs::write(cgroups.join("cgroup.controllers"), "").unwrap();
        check_host(&root).unwrap();
    }
}
