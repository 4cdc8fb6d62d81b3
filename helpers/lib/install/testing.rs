//! A host for unit tests: a tree in a temporary directory, images in directories, and a service manager that does as it is told.

use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

use serde_json::json;

use crate::container::deployment::Deployments;
use crate::container::{derived, registration};
use crate::digest::Digest;
use crate::error::Result;
use crate::image::Image;
use crate::image::tree::Directory;
use crate::install::installer::Installer;
use crate::install::plan::{Options, Planner};
use crate::install::site::Site;
use crate::name::{Deployment, Name};
use crate::paths::{Root, TreePath};
use crate::system::lock;
use crate::system::systemd::fake::{Fake, Fate};
use crate::system::systemd::manager::Manager;

/// The unit of images.
const SERVICE: &str =
    "[Unit]\nDescription=$NAME\n[Service]\nExecStart=$EXEC_START\n[Install]\nWantedBy=multi-user.target\n";
const CONFIG: &str = r#"{"ociVersion": "1.0.2", "process": {"args": ["/bin/true"], "cwd": "/", "env": ["A=$A"]},
    "root": {"path": "rootfs", "readonly": true}}"#;

/// The host.
pub struct TestHost {
    directory: tempfile::TempDir,
    /// What programs get to see of it.
    pub site: Site,
    /// Its service manager.
    pub manager: Rc<Fake>,
    /// The container that is worked on.
    pub name: Name,
}

impl Default for TestHost {
    fn default() -> TestHost {
        TestHost::new()
    }
}

impl TestHost {
    /// A host without containers.
    pub fn new() -> TestHost {
        // In memory, where there is such a directory: a disk would be synced thousands of times.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let root = Root::new(directory.path().join("root"));
        fs::create_dir_all(root.path().join("usr/bin")).unwrap();
        fs::write(root.path().join("usr/bin/crun"), "").unwrap();
        let manager = Rc::new(Fake::new());
        let site = Site { deployments: Deployments::new(&root), manager: manager.clone() };
        site.deployments.create().unwrap();
        let host = TestHost { directory, site, manager, name: "web".parse().unwrap() };
        host.prepare_on_start();
        host
    }

    /// As syscontainer-prepare does: what is started runs the current deployment.
    fn prepare_on_start(&self) {
        let (deployments, name) = (self.site.deployments.clone(), self.name.clone());
        self.manager.on_start(move |unit| {
            let current = deployments.current(&name).ok().flatten();
            if let Some(current) = current.filter(|_| unit == name.unit()) {
                let bundle =
                    deployments.root().join(&TreePath::from("/run/syscontainers").join(name.as_str()));
                fs::create_dir_all(&bundle).unwrap();
                let runtime = json!({"path": "/usr/bin/crun", "kind": "crun"});
                let launch =
                    json!({"runtime": runtime, "deployment": current, "notify": "created", "pid-file": null});
                fs::write(bundle.join("launch.json"), launch.to_string()).unwrap();
            }
        });
    }

    /// Says how starts of a deployment go; those of others succeed.
    pub fn decide(&self, deployment: &Deployment, fate: Fate) {
        let (deployments, deployment) = (self.site.deployments.clone(), deployment.clone());
        self.manager.decide(move |unit| {
            let is_it = unit == deployment.name().unit()
                && deployments.current(deployment.name()).ok().flatten().as_ref() == Some(&deployment);
            if is_it { fate } else { Fate::Runs }
        });
    }

    /// Makes version `number` of an image.
    pub fn image(&self, number: u32) -> (Directory, Image) {
        let files = self.directory.path().join(format!("image{number}"));
        fs::create_dir_all(files.join("exports/hostfs/opt")).unwrap();
        fs::write(files.join("exports/service.template"), SERVICE).unwrap();
        fs::write(files.join("exports/config.json.template"), CONFIG).unwrap();
        fs::write(files.join("exports/manifest.json"), r#"{"defaultValues": {"A": "1"}}"#).unwrap();
        fs::write(files.join("exports/hostfs/opt/version"), number.to_string()).unwrap();
        let config = json!({"architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": []}});
        let image = Image {
            name: "registry.example/web:1".into(),
            commit: format!("{number:064}"),
            digest: Digest::of(&number.to_be_bytes()),
            manifest: "{}".into(),
            config: config.to_string(),
        };
        (Directory(files), image)
    }

    /// As [`TestHost::image`], of an image that is no service.
    pub fn image_without_service(&self, number: u32) -> (Directory, Image) {
        let (files, image) = self.image(number);
        fs::write(
            files.0.join("exports/manifest.json"),
            r#"{"defaultValues": {"A": "1"}, "noContainerService": true}"#,
        )
        .unwrap();
        (files, image)
    }

    /// Installs version `number` as syscontainer-checkout does.
    pub fn install(&self, number: u32) -> Result<()> {
        let (tree, image) = self.image(number);
        let options = Options::default();
        let planner = Planner {
            site: &self.site,
            tree: &tree,
            image: &image,
            name: &self.name,
            options: &options,
            previous: None,
        };
        let _lock = lock::container(self.site.root(), &self.name)?;
        let _host_files = lock::host_files(self.site.root())?;
        let installer = Installer { planner };
        match self.site.deployments.current(&self.name)? {
            Some(current) => installer.finish_again(&current),
            None => installer.install(),
        }
    }

    /// The deployment of a number.
    pub fn deployment(&self, number: u32) -> Deployment {
        Deployment::new(&self.name, number)
    }

    /// The current deployment's number.
    pub fn current(&self) -> Option<u32> {
        self.site.deployments.current(&self.name).unwrap().map(|deployment| deployment.number())
    }

    /// What of the container is outside of its deployments, as `path: content`, by path; registration and host files included.
    pub fn derived(&self) -> Vec<String> {
        let paths = [
            derived::registration(&self.name),
            derived::stub(&self.name),
            derived::tmpfiles(&self.name),
            TreePath::from("/opt/version"),
        ];
        let shown = |path: &TreePath| {
            let content = fs::read_to_string(self.site.root().join(path)).ok()?;
            Some(format!("{path}: {content}"))
        };
        paths.iter().filter_map(shown).collect()
    }

    /// Entries of the directory of deployments.
    pub fn entries(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.site.deployments.entries().unwrap().into_iter().map(|(name, _)| name).collect();
        names.sort();
        names
    }

    /// Fails unless all that belongs to the container is of its current deployment.
    pub fn check_consistent(&self) {
        let current = self.site.deployments.current(&self.name).unwrap().expect("it is installed");
        let path = derived::registration(&self.name);
        let registration = registration::read(self.site.root(), &self.name, &path).unwrap().unwrap();
        assert_eq!(registration.deployment, current);
        let own = PathBuf::from("hostfs/opt/version");
        let brought = fs::read_to_string(self.site.deployments.path_of(&current).join(own)).unwrap();
        assert_eq!(fs::read_to_string(self.site.root().join("/opt/version")).unwrap(), brought);
        assert!(self.site.manager.is_enabled(&self.name).unwrap());
        for (entry, kind) in self.site.deployments.entries().unwrap() {
            assert!(!kind.is_temporary(), "{entry} is left");
        }
    }

    /// The deployment that the service runs, by its number; `None` if it is down.
    pub fn running(&self) -> Option<u32> {
        if self.manager.state_of(&self.name.unit()) != "active" {
            return None;
        }
        let bundle = crate::run::bundle::Bundle::new(self.site.root(), &self.name);
        bundle.deployment().unwrap().map(|deployment| deployment.number())
    }

    /// Starts the service.
    pub fn start(&self) {
        self.manager.queue(crate::system::systemd::manager::Verb::Start, &[self.name.unit()]).unwrap();
    }
}
