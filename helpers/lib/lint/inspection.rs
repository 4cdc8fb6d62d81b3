//! What all rules examine: the image, and the results of the pipeline of an installation.

use std::collections::BTreeSet;

use super::finding::Place;
use super::target::Target;
use crate::container::deployment::Deployments;
use crate::container::info::Values;
use crate::container::settings::Settings;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::image::check;
use crate::image::exports::Exports;
use crate::image::installation::Installation;
use crate::image::render::{self, Rendered};
use crate::image::template::{PlaceholderFault, RenderedText};
use crate::name::{Deployment, Name};
use crate::paths::{Root, TreePath};

/// The text that stands for missing values: a path and a word at once.
pub const NO_VALUE: &str = "/no-value";

/// A host that does not exist, on which lint installs images.
pub struct ImaginaryHost {
    name: Name,
    image: String,
    digest: Digest,
    root: Root,
    runtime: TreePath,
    user_values: Values,
    user_secrets: BTreeSet<String>,
    settings: Settings,
}

impl ImaginaryHost {
    /// Makes up the host for an image. Its user sets no values, but may have decided something about the container.
    pub fn new(target: &Target, settings: &Settings) -> Result<ImaginaryHost> {
        let name = target.name()?;
        let (image, digest) = match target.image() {
            Some(image) => (image.title.clone(), image.digest.clone()),
            None => (name.to_string(), Digest::of(b"")),
        };
        Ok(ImaginaryHost {
            name,
            image,
            digest,
            root: Root::default(),
            runtime: "/usr/bin/crun".into(),
            user_values: Values::new(),
            user_secrets: BTreeSet::new(),
            settings: settings.clone(),
        })
    }

    /// The first installation on this host.
    pub fn installation(&self) -> Installation<'_> {
        let deployments = Deployments::new(&self.root);
        Installation {
            name: &self.name,
            image: &self.image,
            digest: &self.digest,
            root: &self.root,
            link: deployments.directory().join(self.name.as_str()),
            deployment: deployments.inside(&Deployment::new(&self.name, 0)),
            runtime: Some(&self.runtime),
            uid: 0,
            gid: 0,
            uuid: None,
            user_values: &self.user_values,
            user_secrets: &self.user_secrets,
            settings: &self.settings,
            user_notify: None,
        }
    }
}

/// An image on its way through the pipeline.
pub struct Inspection<'a> {
    /// The image, or its sources.
    pub target: &'a Target<'a>,
    /// Its exports, as far as they can be read.
    pub exports: &'a Exports,
    /// Whether a missing file of `/exports` is worth a finding: in sources, and in images that have others.
    pub expects_files: bool,
    /// The installation on an imaginary host.
    pub installation: &'a Installation<'a>,
    /// The values that variables have if the user sets none.
    pub values: &'a Values,
    /// The rendered templates, in which [`NO_VALUE`] stands for missing values.
    pub rendered: &'a Rendered,
}

impl Inspection<'_> {
    /// The image, or its sources, as the place of what is about no file alone.
    pub fn whole(&self) -> Place {
        match (self.target.image(), self.target.sources()) {
            (None, Some(sources)) => Place::file(sources.path().display().to_string()),
            _ => Place::file(self.installation.image),
        }
    }

    /// Why an installation refuses the image, once all values are known; `None` if it does not, or if that depends on what
    /// sources do not have.
    pub fn refusal(&self) -> Option<Error> {
        let (image, tree) = (self.target.image(), self.target.tree());
        if image.is_none() && self.exports.decider().is_none() {
            return None;
        }
        let rendered = render::render(self.exports, &*tree, self.installation, self.values, None);
        rendered.check_problems(self.installation.image).ok()?;
        check::check(rendered, self.exports, &*tree, image, self.installation, self.values).err()
    }
}

/// Returns whether a value is missing in a line of the template, so that its final text is unknown.
pub fn is_open(rendered: &RenderedText, line: usize) -> bool {
    let is_missing = |fault: &PlaceholderFault| matches!(fault, PlaceholderFault::NoValue(_));
    // They are in the order of their places.
    let before = rendered.problems.partition_point(|problem| problem.line < line);
    let there = rendered.problems[before..].iter().take_while(|problem| problem.line == line);
    there.map(|problem| &problem.fault).any(is_missing)
}

/// Returns whether anything but missing values is wrong with a template. What follows from that is not worth another
/// finding.
pub fn is_broken(rendered: &RenderedText) -> bool {
    rendered.problems.iter().any(|problem| !matches!(problem.fault, PlaceholderFault::NoValue(_)))
}
