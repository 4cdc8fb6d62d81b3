//! A host for unit tests: a tree in a temporary directory, images in directories, and a fake service manager.

use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

use serde_json::json;

use crate::commit::Commit;
use crate::container::deployment::Deployments;
use crate::container::entries::{Entry, Record};
use crate::container::{derived, registration};
use crate::digest::Digest;
use crate::error::Result;
use crate::image::Image;
use crate::image::tree::Directory;
use crate::install::installer::Installer;
use crate::install::plan::{Options, Planner};
use crate::install::preinstall::Preinstaller;
use crate::install::site::Site;
use crate::name::{Deployment, Name};
use crate::paths::{Root, TreePath};
use crate::provenance::Provenance;
use crate::system::lock;
use crate::system::systemd::fake::{Fake, Fate};
use crate::system::systemd::manager::Manager;

/// The unit of the images.
const SERVICE: &str =
    "[Unit]\nDescription=$NAME\n[Service]\nExecStart=$EXEC_START\n[Install]\nWantedBy=multi-user.target\n";
const CONFIG: &str = r#"{"ociVersion": "1.0.2", "process": {"args": ["/bin/true"], "cwd": "/", "env": ["A=$A"]},
    "root": {"path": "rootfs", "readonly": true}}"#;

/// A host with one container.
pub struct TestHost {
    directory: tempfile::TempDir,
    /// The host's site.
    pub site: Site,
    /// The host's service manager.
    pub manager: Rc<Fake>,
    /// Name of the container.
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
        // In memory, if there is such a directory: a disk would be synced thousands of times.
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

    /// Makes starts write a bundle of the current deployment, as syscontainer-prepare does.
    fn prepare_on_start(&self) {
        let (deployments, name) = (self.site.deployments.clone(), self.name.clone());
        self.manager.on_start(move |unit| {
            let current = deployments.current(&name).ok().flatten();
            if let (Some(current), true) = (current, unit == name.unit()) {
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

    /// Sets how starts of a deployment go; starts of other deployments succeed.
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
            title: "registry.example/web:1".into(),
            provenance: Provenance {
                transport: "docker".into(),
                source: concat!("docker://", "registry.example/web:1").into(),
                architecture: "amd64".into(),
                policy_scope: None,
            },
            commit: Commit::new(format!("{number:064}")),
            digest: Digest::of(&number.to_be_bytes()),
            manifest: "{}".into(),
            config: config.to_string(),
        };
        (Directory(files), image)
    }

    /// Like [`TestHost::image`], for an image without a service.
    pub fn image_without_service(&self, number: u32) -> (Directory, Image) {
        let (files, image) = self.image(number);
        fs::write(
            files.0.join("exports/manifest.json"),
            r#"{"defaultValues": {"A": "1"}, "noContainerService": true}"#,
        )
        .unwrap();
        (files, image)
    }

    /// Like [`TestHost::image`], for an image without `/exports`. The files in `extra` are added, with their contents.
    pub fn plain_image(&self, number: u32, extra: &[(&str, &str)]) -> (Directory, Image) {
        let (files, mut image) = self.image(number);
        fs::remove_dir_all(&files.0).unwrap();
        fs::create_dir_all(files.0.join("usr")).unwrap();
        for (path, content) in extra {
            let path = files.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        image.config = image.config.replace(r#""config":{}"#, r#""config":{"Cmd":["/bin/true"]}"#);
        (files, image)
    }

    /// Installs version `number` as syscontainer-checkout does.
    pub fn install(&self, number: u32) -> Result<()> {
        self.install_image(&self.image(number), &Options::default())
    }

    /// Installs an image as syscontainer-checkout does.
    pub fn install_image(&self, (tree, image): &(Directory, Image), options: &Options) -> Result<()> {
        let planner = Planner { site: &self.site, tree, image, name: &self.name, options, previous: None };
        let _lock = lock::container(self.site.root(), &self.name)?;
        let _host_files = lock::host_files(self.site.root())?;
        let installer = Installer { planner };
        match self.site.deployments.current(&self.name)? {
            Some(current) => installer.finish_again(&current),
            None => installer.install(),
        }
    }

    /// The site of what came with the operating system.
    pub fn system(&self) -> Site {
        Site { deployments: Deployments::preinstalled(self.site.root()), manager: self.manager.clone() }
    }

    /// Preinstalls version `number`, which has no files for the host, as syscontainer-checkout does.
    pub fn preinstall(&self, number: u32) -> Result<()> {
        let image = self.image(number);
        fs::remove_dir_all(image.0.0.join("exports/hostfs")).unwrap();
        self.preinstall_image(&image)
    }

    /// Preinstalls an image as syscontainer-checkout does.
    pub fn preinstall_image(&self, (tree, image): &(Directory, Image)) -> Result<()> {
        let (site, options) = (self.system(), Options::default());
        let _lock = lock::container(site.root(), &self.name)?;
        let planner =
            Planner { site: &site, tree, image, name: &self.name, options: &options, previous: None };
        Preinstaller { planner }.install()
    }

    /// The deployment of a number.
    pub fn deployment(&self, number: u32) -> Deployment {
        Deployment::new(&self.name, number)
    }

    /// The current deployment's number.
    pub fn current(&self) -> Option<u32> {
        self.site.deployments.current(&self.name).unwrap().map(|deployment| deployment.number())
    }

    /// The files of the container outside of its deployments, as `path: content`: registration, unit, tmpfiles and host
    /// files.
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

    /// Names of the entries of the directory of deployments, without its identity.
    pub fn entries(&self) -> Vec<String> {
        let all = self.site.deployments.entries().unwrap().into_iter();
        let others = all.filter(|(_, entry)| *entry != Entry::Record(Record::Identity));
        let mut names: Vec<_> = others.map(|(name, _)| name).collect();
        names.sort();
        names
    }

    /// Fails unless everything that belongs to the container is that of its current deployment.
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

    /// Number of the deployment that the service runs; `None` if it is down.
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
