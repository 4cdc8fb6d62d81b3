//! Where containers are installed: the deployments of a tree, and its service manager.

use std::rc::Rc;

use crate::container::deployment::Deployments;
use crate::paths::Root;
use crate::system::systemd::host::Systemd;
use crate::system::systemd::manager::Manager;

/// A tree with what runs there.
#[derive(Clone)]
pub struct Site {
    /// The deployments.
    pub deployments: Deployments,
    /// The service manager; that of an unpacked tree does not run.
    pub manager: Rc<dyn Manager>,
}

impl Site {
    /// That of a tree: this host, or an unpacked one.
    pub fn new(root: &Root) -> Site {
        Site { deployments: Deployments::new(root), manager: Rc::new(Systemd::new(root)) }
    }

    /// The tree.
    pub fn root(&self) -> &Root {
        self.deployments.root()
    }

    /// The service manager.
    pub fn manager(&self) -> &dyn Manager {
        &*self.manager
    }
}
