//! Files of the host that several containers brought.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use syscontainers::container::deployment::Deployments;
use syscontainers::digest::Digest;
use syscontainers::host_files;
use syscontainers::host_files::changes::{Departure, Known};
use syscontainers::host_files::record::{DIRECTORY, DeploymentFiles, staged, sum};
use syscontainers::name::{Deployment, Name};
use syscontainers::paths::{Root, TreePath};

/// The file that all of them bring.
const FILE: &str = "/etc/shared/file";
/// What is recorded beside deployments.
const RECORD: &str = ".host-files.json";

/// A tree with containers that bring [`FILE`].
struct Host {
    directory: tempfile::TempDir,
    deployments: Deployments,
}

fn name(name: &str) -> Name {
    name.parse().unwrap()
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let deployments = Deployments::new(&Root::new(directory.path()));
        deployments.create().unwrap();
        fs::create_dir(directory.path().join("etc")).unwrap();
        Host { directory, deployments }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join(&FILE[1..])
    }

    fn content(&self) -> Option<String> {
        fs::read_to_string(self.file()).ok()
    }

    fn record(&self) -> Option<String> {
        fs::read_to_string(self.deployments.path(RECORD)).ok()
    }

    /// Makes deployment `number` of `container`, which brings `content`, and makes it current.
    fn deploy(&self, container: &str, number: u32, content: &str) -> DeploymentFiles {
        self.deploy_at(FILE, container, number, content)
    }

    fn deploy_at(&self, file: &str, container: &str, number: u32, content: &str) -> DeploymentFiles {
        let deployment = Deployment::new(&name(container), number);
        let directory = self.deployments.path_of(&deployment);
        let path = staged(&directory, &TreePath::new(file));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let above = Path::new(file).parent().unwrap().to_str().unwrap();
        self.describe(
            &deployment,
            json!([above, file]),
            json!({above: DIRECTORY, file: sum(content.as_bytes())}),
        );
        self.deployments.switch(&deployment).unwrap();
        DeploymentFiles::read(&self.deployments, &deployment).unwrap()
    }

    fn describe(&self, deployment: &Deployment, files: serde_json::Value, sums: serde_json::Value) {
        let directory = self.deployments.path_of(deployment);
        fs::create_dir_all(&directory).unwrap();
        let ours = json!({"digest": Digest::of(b""), "version": 1, "user-values": {}, "enabled": true, "execution": {"notify": "created"}});
        let info = json!({"installed-files": files, "installed-files-checksum": sums, "syscontainers": ours});
        fs::write(directory.join("info"), info.to_string()).unwrap();
    }

    fn install(&self, container: &str, content: &str) -> DeploymentFiles {
        let files = self.deploy(container, 0, content);
        host_files::install(&self.deployments, &files, None).unwrap();
        files
    }

    /// As an update from deployment 0 does.
    fn update(&self, container: &str, old: &DeploymentFiles, content: &str) -> DeploymentFiles {
        let new = self.deploy(container, 1, content);
        self.turn(old, &new);
        new
    }

    fn turn(&self, old: &DeploymentFiles, new: &DeploymentFiles) {
        host_files::install(&self.deployments, new, Some(old)).unwrap();
        host_files::remove(&self.deployments, new.deployment.name(), &[old], Some(new)).unwrap();
    }

    fn remove(&self, container: &str, files: &[&DeploymentFiles]) {
        self.deployments.detach(&name(container)).unwrap();
        host_files::remove(&self.deployments, &name(container), files, None).unwrap();
    }
}

#[test]
fn an_updated_file_goes_with_the_last_container() {
    let host = Host::new();
    let (a, b) = (host.install("a", "x"), host.install("b", "x"));
    assert_eq!(host.record(), None);
    let new = host.update("a", &a, "y");
    assert_eq!(host.content().as_deref(), Some("y"));
    host.remove("a", &[&a, &new]);
    assert_eq!(host.content().as_deref(), Some("y"));
    assert!(host.record().is_some());
    host.remove("b", &[&b]);
    assert!(!host.directory.path().join("etc/shared").exists());
    assert_eq!(host.record(), None);
}

#[test]
fn the_last_update_wins() {
    let host = Host::new();
    let (a, b) = (host.install("a", "x"), host.install("b", "x"));
    let newer = host.update("a", &a, "y");
    let other = host.update("b", &b, "z");
    assert_eq!(host.content().as_deref(), Some("z"));
    host.remove("b", &[&b, &other]);
    host.remove("a", &[&a, &newer]);
    assert_eq!((host.content(), host.record()), (None, None));
}

#[test]
fn an_update_that_does_not_change_a_file_does_not_touch_it() {
    let host = Host::new();
    let (a, b) = (host.install("a", "x"), host.install("b", "x"));
    host.update("a", &a, "y");
    host.update("b", &b, "x");
    assert_eq!(host.content().as_deref(), Some("y"));
}

#[test]
fn what_the_user_changed_stays() {
    let host = Host::new();
    let (a, b) = (host.install("a", "x"), host.install("b", "x"));
    let newer = host.update("a", &a, "y");
    fs::write(host.file(), "mine").unwrap();
    let other = host.update("b", &b, "z");
    assert_eq!(host.content().as_deref(), Some("mine"));
    host.remove("a", &[&a, &newer]);
    host.remove("b", &[&b, &other]);
    assert_eq!((host.content().as_deref(), host.record()), (Some("mine"), None));
}

#[test]
fn a_record_is_gone_once_all_have_recorded_the_same() {
    let host = Host::new();
    let (a, b) = (host.install("a", "x"), host.install("b", "x"));
    host.update("a", &a, "y");
    host.update("b", &b, "y");
    assert_eq!((host.content().as_deref(), host.record()), (Some("y"), None));
}

#[test]
fn a_record_of_what_was_never_written_is_harmless() {
    let host = Host::new();
    let (a, b) = (host.install("a", "x"), host.install("b", "x"));
    let newer = host.update("a", &a, "y");
    host.remove("a", &[&a, &newer]);
    // Killed before the file was replaced: what is there is recorded here only.
    let sums = [sum(b"y"), sum(b"z")];
    fs::write(host.deployments.path(RECORD), serde_json::json!({ FILE: sums }).to_string()).unwrap();
    fs::write(host.deployments.path(format!(".{RECORD}.new")), "{").unwrap();
    let other = host.update("b", &b, "z");
    assert_eq!((host.content().as_deref(), host.record()), (Some("z"), None));
    host.remove("b", &[&b, &other]);
    assert_eq!(host.content(), None);
    assert_eq!(
        fs::read_dir(host.deployments.path(""))
            .unwrap()
            .filter(|e| !e.as_ref().unwrap().path().is_dir())
            .filter(|e| e.as_ref().unwrap().file_name() != ".identity")
            .count(),
        0
    );
}

#[test]
fn a_record_that_is_no_json_leaves_files_alone() {
    let host = Host::new();
    let (a, b) = (host.install("a", "x"), host.install("b", "x"));
    let newer = host.update("a", &a, "y");
    host.remove("a", &[&a, &newer]);
    fs::write(host.deployments.path(RECORD), "?").unwrap();
    host.remove("b", &[&b]);
    assert_eq!((host.content().as_deref(), host.record()), (Some("y"), None));
}

#[test]
fn an_update_that_is_undone_puts_back_what_another_wrote() {
    let host = Host::new();
    let (a, b) = (host.install("a", "x"), host.install("b", "x"));
    host.update("b", &b, "z");
    let shared = host_files::shared(&host.deployments, &a).unwrap();
    let new = host.update("a", &a, "y");
    host.deployments.switch(&a.deployment).unwrap();
    host.turn(&new, &a);
    host_files::restore(&host.deployments, &name("a"), &shared).unwrap();
    host_files::remove(&host.deployments, &name("a"), &[&new], Some(&a)).unwrap();
    assert_eq!(host.content().as_deref(), Some("z"));
}

#[test]
fn a_version_without_a_file_takes_it_away() {
    let host = Host::new();
    let (a, b) = (host.install("a", "x"), host.install("b", "x"));
    let newer = host.update("a", &a, "y");
    host.remove("a", &[&a, &newer]);
    let without = Deployment::new(&name("b"), 1);
    host.describe(&without, json!([]), json!({}));
    host.turn(&b, &DeploymentFiles::read(&host.deployments, &without).unwrap());
    assert_eq!((host.content(), host.record()), (None, None));
}

#[test]
fn a_version_has_another_path_of_the_same_file() {
    let host = Host::new();
    let old = host.install("a", "x");
    std::os::unix::fs::symlink("etc", host.directory.path().join("link")).unwrap();
    let new = host.deploy_at("/link/shared/file", "a", 1, "x");
    host.turn(&old, &new);
    assert_eq!(host.content().as_deref(), Some("x"));
    host.remove("a", &[&old, &new]);
    assert!(!host.directory.path().join("etc/shared").exists());
}

#[test]
fn tells_what_goes() {
    let host = Host::new();
    let info = host.install("a", "x");
    let departures = |kept: Option<&DeploymentFiles>| -> Vec<_> {
        let known = Known::read(&host.deployments, &name("a")).unwrap();
        let all = known.departures(&[&info], kept).unwrap();
        all.into_iter().map(|outgoing| (outgoing.path, outgoing.departure)).collect()
    };
    let (file, directory) = (TreePath::from(FILE), TreePath::from("/etc/shared"));
    assert_eq!(
        departures(None),
        [(file.clone(), Departure::Removed), (directory.clone(), Departure::Removed)]
    );
    assert_eq!(departures(Some(&info)), []);
    // Of a copy that was killed.
    fs::write(host.file().with_file_name(".file.new"), "x").unwrap();
    assert_eq!(departures(None)[1].1, Departure::Removed);
    fs::write(host.file().with_file_name("theirs"), "x").unwrap();
    assert_eq!(departures(None)[1].1, Departure::Kept);
    fs::write(host.file(), "mine").unwrap();
    assert_eq!(departures(None), [(file, Departure::Changed), (directory, Departure::Kept)]);
}

#[test]
fn a_deployment_whose_info_is_damaged_is_known_by_its_files() {
    let host = Host::new();
    let files = host.install("a", "x");
    fs::write(host.deployments.path("a.0/info"), "{").unwrap();
    let guessed = DeploymentFiles::read(&host.deployments, &files.deployment).unwrap();
    assert!(!guessed.by_atomic && guessed.files.installed_files.contains(&FILE.into()));
    host.remove("a", &[&guessed]);
    assert_eq!(host.content(), None);
}
