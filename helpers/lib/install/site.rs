//! Where containers are installed: the deployments of a tree, and its service manager.

use std::rc::Rc;

use crate::container::deployment::Deployments;
use crate::paths::Root;
use crate::system::systemd::host::Systemd;
use crate::system::systemd::manager::Manager;

/// A tree with its deployments and its service manager.
#[derive(Clone)]
pub struct Site {
    /// The deployments in the tree.
    pub deployments: Deployments,
    /// The tree's service manager, which does not run if the tree is unpacked.
    pub manager: Rc<dyn Manager>,
}

impl Site {
    /// The site of this host, or of an unpacked tree.
    pub fn new(root: &Root) -> Site {
        Site { deployments: Deployments::new(root), manager: Rc::new(Systemd::new(root)) }
    }

    /// The site of what comes with the operating system.
    pub fn preinstalled(root: &Root) -> Site {
        Site { deployments: Deployments::preinstalled(root), ..Site::new(root) }
    }

    /// The root of the tree.
    pub fn root(&self) -> &Root {
        self.deployments.root()
    }

    /// The service manager.
    pub fn manager(&self) -> &dyn Manager {
        &*self.manager
    }
}
