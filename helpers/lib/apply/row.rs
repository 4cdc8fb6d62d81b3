//! What became of the declarations, as text and as JSON.

use serde::Serialize;

/// What became of one container; the fields are the JSON keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Name of the container, or of a file that declares none.
    pub name: String,
    /// The declaration's main file; `None` if that is gone.
    pub file: Option<String>,
    /// Whether anything was changed.
    pub result: Outcome,
    /// What was done, or would be in a dry run.
    pub action: Action,
    /// The same for people.
    pub message: String,
}

/// Whether anything was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Everything was as declared.
    Unchanged,
    /// Something was not.
    Changed,
    /// It is not as declared.
    Failed,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Nothing.
    None,
    /// The image was pulled, and nothing else was to be done.
    Pulled,
    /// The container was installed.
    Installed,
    /// It was installed before it was declared, as it is declared now.
    Adopted,
    /// It has another image.
    Updated,
    /// It has other values from its next start on.
    Values,
    /// How it is updated or enabled was changed.
    Configured,
    /// It was removed, since its declaration is gone.
    Removed,
}

/// What was done, and how that is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// What was done.
    pub action: Action,
    /// The same for people.
    pub message: String,
}

impl Done {
    /// Says what was done.
    pub fn new(action: Action, message: impl Into<String>) -> Done {
        Done { action, message: message.into() }
    }
}

impl Row {
    /// The row of a container for which something was done.
    pub fn done(name: &str, file: Option<String>, done: Done) -> Row {
        let result = if done.action == Action::None { Outcome::Unchanged } else { Outcome::Changed };
        Row { name: name.to_owned(), file, result, action: done.action, message: done.message }
    }

    /// The row of one for which that failed.
    pub fn failed(name: &str, file: Option<String>, why: &str) -> Row {
        let (result, action) = (Outcome::Failed, Action::None);
        Row { name: name.to_owned(), file, result, action, message: why.to_owned() }
    }

    /// The row as a line. Why something failed is said elsewhere.
    pub fn line(&self) -> String {
        match self.result {
            Outcome::Failed => format!("{}: failed\n", self.name),
            Outcome::Unchanged | Outcome::Changed => format!("{}: {}\n", self.name, self.message),
        }
    }
}
