//! Deployments: `NAME.N` directories of one container, and the symlink NAME that says which is current.
//!
//! A deployment holds `rootfs/`, `config.json` as the image rendered it, `info`, the rendered unit `NAME.service` and,
//! if the container has any, `tmpfiles-NAME.conf` and `hostfs/` with its files for the host. It is made under a
//! temporary name, synced and then renamed, so a directory that has the name of a deployment is complete.
//!
//! An operating system may bring a deployment, in a directory of its own that is only read: where there is no symlink NAME
//! among the deployments made here, that one is current. So the symlink decides here, too, and a /var that was emptied leads
//! back to what the system brought.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::container::entries::Entry;
use crate::container::identity;
use crate::container::info::{self, Info};
use crate::error::{Context, Error, Result};
use crate::name::{Deployment, Name};
use crate::paths::{self, Root, TreePath};
use crate::system::{files, mounts, privacy, tree};

/// What a deployment is recognised by: it has at least one of these.
const PARTS: [&str; 4] = [info::FILE, "rootfs", "hostfs", "config.json"];

/// The directory that holds the deployments of one tree, and those that came with the operating system.
#[derive(Clone, Debug)]
pub struct Deployments {
    root: Root,
    directory: TreePath,
    /// The directory of deployments that came with the operating system, unless these are the ones.
    system: Option<TreePath>,
}

/// What that directory holds of one container.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The container's deployments, oldest first.
    pub deployments: Vec<Deployment>,
    /// Temporary entries that killed programs left behind, as this process sees them.
    pub leftovers: Vec<PathBuf>,
}

impl Deployments {
    /// The deployments of a tree, in the directory that the environment names, or else in the default one.
    pub fn new(root: &Root) -> Self {
        let system = Some(TreePath::from(paths::PREINSTALLED));
        Deployments { root: root.clone(), directory: paths::deployments(), system }
    }

    /// The deployments that came with the operating system, and nothing else: only who makes such a system changes them.
    pub fn preinstalled(root: &Root) -> Self {
        Deployments { root: root.clone(), directory: TreePath::from(paths::PREINSTALLED), system: None }
    }

    /// The deployment of a container that came with the operating system, if there is one, and none of that name was made
    /// here. It is current where no symlink leads to another one.
    pub fn of_system(&self, name: &Name) -> Option<Deployment> {
        let directory = self.root.join(self.system.as_ref()?);
        let target = fs::read_link(directory.join(name.as_str())).ok()?;
        let deployment: Deployment = target.to_str()?.parse().ok()?;
        let is_it = deployment.name() == name && self.came_with_system(&deployment);
        is_it.then_some(deployment)
    }

    /// Whether a deployment came with the operating system. One that was made here hides it.
    pub fn came_with_system(&self, deployment: &Deployment) -> bool {
        let Some(system) = &self.system else { return false };
        let file_name = deployment.to_string();
        self.path(&file_name).symlink_metadata().is_err() && self.root.join(system).join(file_name).is_dir()
    }

    /// The directory that a deployment is in, as programs inside the tree see it.
    pub fn directory_of(&self, deployment: &Deployment) -> &TreePath {
        let system = self.system.as_ref().filter(|_| self.came_with_system(deployment));
        system.unwrap_or(&self.directory)
    }

    /// All deployments of a container, oldest first: those that were made here, and that of the operating system.
    pub fn with_system(&self, name: &Name) -> Result<Vec<Deployment>> {
        let mut all = self.all(name)?.deployments;
        all.extend(self.of_system(name));
        all.sort();
        Ok(all)
    }

    /// The directory as programs inside the tree see it.
    pub fn directory(&self) -> &TreePath {
        &self.directory
    }

    /// The tree these belong to.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// A deployment's directory as programs inside the tree see it.
    pub fn inside(&self, deployment: &Deployment) -> TreePath {
        self.directory_of(deployment).join(deployment.to_string())
    }

    /// A path below the directory, as this process sees it.
    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.root.join(&self.directory).join(below)
    }

    /// A deployment's directory, as this process sees it.
    pub fn path_of(&self, deployment: &Deployment) -> PathBuf {
        self.root.join(&self.inside(deployment))
    }

    /// An entry of the directory, as this process sees it.
    pub fn entry(&self, entry: &Entry) -> PathBuf {
        self.path(entry.to_string())
    }

    /// The symlink to the current deployment, as this process sees it.
    pub fn link(&self, name: &Name) -> PathBuf {
        self.path(name.as_str())
    }

    /// Creates the directory, if it does not exist, and closes it to other users, unless the user chose one that may
    /// have other things in it. Refuses one in which others could replace a deployment.
    pub fn create(&self) -> Result<()> {
        let path = self.path("");
        let what = || format!("cannot use the directory of deployments {}", path.display());
        tree::check_path(&self.root, &self.directory).context(what)?;
        if let (Ok(target), false) = (fs::read_link(self.root.join(&self.directory)), path.exists()) {
            let target = target.display();
            return Err(Error::new(format!(
                "it is a symlink to {target}, which is not there; mount what that is on"
            )))
            .context(what);
        }
        if self.are_of_system() || paths::has_default_deployments() || !path.is_dir() {
            privacy::make(&path)?;
        }
        privacy::check_parents(&path.join("x")).context(what)?;
        if self.are_of_system() { Ok(()) } else { identity::make(&path) }
    }

    /// Whether these are the deployments that came with the operating system.
    pub fn are_of_system(&self) -> bool {
        self.system.is_none()
    }

    /// All entries of the directory.
    pub fn entries(&self) -> Result<Vec<(String, Entry)>> {
        let names = files::names(&self.path(""))?;
        Ok(names.into_iter().map(|name| (name.clone(), Entry::parse(&name))).collect())
    }

    /// The current deployment, which may have come with the operating system; `None` if the container is not installed.
    pub fn current(&self, name: &Name) -> Result<Option<Deployment>> {
        let link = self.link(name);
        match fs::read_link(&link) {
            Ok(target) => {
                let deployment = target.file_name().and_then(|file| file.to_str()?.parse().ok());
                let deployment = deployment.filter(|deployment: &Deployment| deployment.name() == name);
                if deployment.is_none() || !self.is_here(&target) {
                    let what = format!("{} is not a link to a deployment of {name}", link.display());
                    return Err(Error::new(what));
                }
                Ok(deployment)
            }
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(self.of_system(name)),
            Err(e) if e.kind() == ErrorKind::InvalidInput => Err(Error::new(format!(
                "{} is in the way: it is not a symlink to a deployment",
                link.display()
            ))),
            Err(e) => Err(e).context(|| format!("cannot read {}", link.display())),
        }
    }

    /// Like [`Deployments::current`], but fails if the container is not installed.
    pub fn installed(&self, name: &Name) -> Result<Deployment> {
        self.current(name)?.ok_or_else(|| Error::not_found(format!("there is no container {name}")))
    }

    /// Whether a symlink's target is in the same directory as the symlink. Atomic wrote absolute targets.
    fn is_here(&self, target: &Path) -> bool {
        let parent = target.parent().unwrap_or(Path::new(""));
        parent == Path::new("")
            || parent == Path::new(".")
            || parent == self.directory.as_path()
            || parent == self.path("")
    }

    /// Makes a deployment the current one of its container, in a single rename; that of the operating system, by removing
    /// the symlink.
    pub fn switch(&self, deployment: &Deployment) -> Result<()> {
        let name = deployment.name();
        if self.came_with_system(deployment) {
            return self.detach(name);
        }
        let (link, temporary) = (self.link(name), self.entry(&Entry::NewLink(name.clone())));
        let what = || format!("cannot switch {} to {deployment}", link.display());
        files::remove_file(&temporary).context(what)?;
        std::os::unix::fs::symlink(deployment.to_string(), &temporary).context(what)?;
        files::rename(&temporary, &link).context(what)?;
        files::sync_directory(&self.path(""))
    }

    /// Removes the symlink, so that no deployment is current, but that of the operating system.
    pub fn detach(&self, name: &Name) -> Result<()> {
        files::remove(&self.link(name))?;
        files::sync_directory(&self.path(""))
    }

    /// Names of all installed containers.
    pub fn names(&self) -> Result<Vec<Name>> {
        let mut names = self.names_of_system()?;
        for (_, entry) in self.entries()? {
            if let Entry::Link(name) = entry {
                if self.link(&name).is_symlink() && !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        Ok(names)
    }

    /// Names of the containers that came with the operating system.
    pub fn names_of_system(&self) -> Result<Vec<Name>> {
        let Some(system) = &self.system else { return Ok(Vec::new()) };
        let names = files::names(&self.root.join(system))?.into_iter().filter_map(|name| name.parse().ok());
        Ok(names.filter(|name| self.of_system(name).is_some()).collect())
    }

    /// All containers but `name`, each with its current deployment. Broken ones are left out; programs that work on
    /// them report what is wrong.
    pub fn others(&self, name: &Name) -> Result<Vec<(Deployment, Info)>> {
        let others = self.names()?.into_iter().filter(|other| other != name);
        let known = others.filter_map(|other| {
            let current = self.current(&other).ok()??;
            let info = self.info(&current).ok()?;
            Some((current, info))
        });
        Ok(known.collect())
    }

    /// All deployments of a container that were made here, and what killed programs left behind.
    pub fn all(&self, name: &Name) -> Result<Found> {
        let mut found = Found::default();
        for (file_name, entry) in self.entries()? {
            match entry {
                _ if entry.container() != Some(name) => {}
                Entry::Deployment(deployment) if self.is_deployment(&deployment) => {
                    found.deployments.push(deployment);
                }
                entry if entry.is_temporary() => found.leftovers.push(self.path(file_name)),
                _ => {}
            }
        }
        found.deployments.sort();
        Ok(found)
    }

    /// Whether there is a link or a deployment of a container, or what killed programs left.
    pub fn has_entries(&self, name: &Name) -> Result<bool> {
        let found = self.all(name)?;
        let has_link = self.link(name).is_symlink();
        Ok(has_link || !found.deployments.is_empty() || !found.leftovers.is_empty())
    }

    /// Whether an entry with the name of a deployment is one, and not something that somebody else put there.
    pub fn is_deployment(&self, deployment: &Deployment) -> bool {
        let path = self.path_of(deployment);
        !path.is_symlink() && PARTS.iter().any(|part| path.join(part).symlink_metadata().is_ok())
    }

    /// The deployment to be made next: its number is higher than that of any entry with such a name.
    pub fn next(&self, name: &Name) -> Result<Deployment> {
        let mut next = 0;
        let of_system = self.system.as_ref().map(|system| files::names(&self.root.join(system)));
        let of_system = of_system.transpose()?.unwrap_or_default();
        let of_system = of_system.iter().map(|file_name| Entry::parse(file_name));
        for entry in self.entries()?.into_iter().map(|(_, entry)| entry).chain(of_system) {
            if let Entry::Deployment(deployment) = entry {
                if deployment.name() == name {
                    next = next.max(deployment.number().saturating_add(1));
                }
            }
        }
        Ok(Deployment::new(name, next))
    }

    /// Distinguishes a deployment from all others, even of the same name, without reading it.
    pub fn stamp(&self, deployment: &Deployment) -> Result<String> {
        let path = self.path_of(deployment).join(info::FILE);
        let info = fs::symlink_metadata(&path).context(|| format!("cannot read {}", path.display()))?;
        Ok(format!("{}-{}.{:09}", info.ino(), info.mtime(), info.mtime_nsec()))
    }

    /// Reads a deployment's `info`.
    pub fn info(&self, deployment: &Deployment) -> Result<Info> {
        Info::read(&self.path_of(deployment))
    }

    /// Reads a text file of a deployment; `None` if it has no such file.
    pub fn read(&self, deployment: &Deployment, file: &str) -> Result<Option<String>> {
        files::read_text_if_exists(&self.path_of(deployment).join(file))
    }

    /// Removes a deployment that was made here. It is renamed first, so that a half-removed one never looks complete.
    pub fn remove(&self, deployment: &Deployment) -> Result<()> {
        let path = self.path(deployment.to_string());
        mounts::refuse(&path).context(|| format!("cannot remove {}", path.display()))?;
        let doomed = self.entry(&Entry::Old(deployment.clone()));
        files::remove_tree(&doomed)?;
        match files::rename(&path, &doomed) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            result => result.context(|| format!("cannot remove {}", path.display()))?,
        }
        files::remove_tree(&doomed)
    }
}
