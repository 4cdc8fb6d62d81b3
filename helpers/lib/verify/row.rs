//! What is told of something that is damaged, as text and JSON.

use std::path::Path;

use serde::Serialize;

use crate::store::comparison;
use crate::store::integrity::ObjectName;
use crate::store::mending::Users;

/// How many places are shown in a line.
const SHOWN: usize = 3;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// An object is not what its checksum says, or is missing.
    Damaged,
    /// A deployment lacks something.
    Missing,
    /// A deployment has something else.
    Replaced,
    /// A deployment has other content, owner, mode or attributes.
    Changed,
    /// A deployment has more.
    Extra,
    /// Something cannot be read.
    Unreadable,
    /// There is nothing to compare a deployment with.
    Unverifiable,
}

impl Problem {
    /// The same of a difference; `None` if it is that of an object.
    pub fn of(problem: &comparison::Problem) -> Option<Problem> {
        Some(match problem {
            comparison::Problem::Missing(_) => Problem::Missing,
            comparison::Problem::Replaced(_) => Problem::Replaced,
            comparison::Problem::Changed(_) => Problem::Changed,
            comparison::Problem::Extra => Problem::Extra,
            comparison::Problem::Unreadable => Problem::Unreadable,
            comparison::Problem::Object(_) => return None,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Problem::Damaged => "damaged",
            Problem::Missing => "missing",
            Problem::Replaced => "something else is in its place",
            Problem::Changed => "changed",
            Problem::Extra => "not of the image",
            Problem::Unreadable => "cannot be read",
            Problem::Unverifiable => "cannot be verified",
        }
    }
}

/// Something that is damaged; the fields are JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    /// The object in the store; null if it is about a deployment only.
    pub object: Option<String>,
    /// The deployment; null if it is about an object.
    pub deployment: Option<String>,
    /// The path in the image.
    pub path: Option<String>,
    /// What is wrong.
    pub problem: Problem,
    /// More about it.
    pub detail: String,
    /// Images that have the object.
    pub images: Vec<String>,
    /// Layers that have it, by their digests.
    pub layers: Vec<String>,
    /// Where it is in deployments: `NAME.N:/PATH`.
    pub used_by: Vec<String>,
    /// Whether it was mended; null if that was not tried.
    pub repaired: Option<bool>,
    /// Why it was not.
    pub failure: Option<String>,
}

impl Row {
    /// An object.
    pub fn of_object(object: &ObjectName, wrong: &str, users: &Users, used_by: Vec<String>) -> Row {
        Row {
            object: Some(object.to_string()),
            deployment: None,
            path: None,
            problem: Problem::Damaged,
            detail: wrong.to_owned(),
            images: users.images.iter().cloned().collect(),
            layers: users.layers.iter().map(ToString::to_string).collect(),
            used_by,
            repaired: None,
            failure: None,
        }
    }

    /// Something in a deployment.
    pub fn of_deployment(name: &str, path: Option<&Path>, problem: Problem, detail: &str) -> Row {
        Row {
            object: None,
            deployment: Some(name.to_owned()),
            path: path.map(|path| path.display().to_string()),
            problem,
            detail: detail.to_owned(),
            images: Vec::new(),
            layers: Vec::new(),
            used_by: Vec::new(),
            repaired: None,
            failure: None,
        }
    }

    /// Whether something is damaged still.
    pub fn is_bad(&self) -> bool {
        self.repaired != Some(true) && self.problem != Problem::Unverifiable
    }

    /// A line of text.
    pub fn line(&self) -> String {
        let mut line = match (&self.object, &self.deployment) {
            (Some(object), _) => format!("object {object}"),
            (None, Some(deployment)) => deployment.clone(),
            (None, None) => String::new(),
        };
        if let Some(path) = &self.path {
            line += &format!(":{path}");
        }
        line += &format!(": {}", self.problem.as_str());
        if !self.detail.is_empty() {
            line += &format!(" ({})", self.detail);
        }
        for (what, all) in [("of image", &self.images), ("in", &self.used_by)] {
            if !all.is_empty() {
                line += &format!(", {what} {}", shown(all));
            }
        }
        match (self.repaired, &self.failure) {
            (Some(true), _) => line += ": repaired",
            (_, Some(why)) => line += &format!(": not repaired: {why}"),
            _ => {}
        }
        line + "\n"
    }
}

fn shown(all: &[String]) -> String {
    let first = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > SHOWN { format!("{first} and {} more", all.len() - SHOWN) } else { first }
}
