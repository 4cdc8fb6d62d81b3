//! What a container gets from `/exports` of its image, and from which source, and who decided that.
//!
//! `/exports` may have files for the host, and a unit, whose commands run on the host: whoever makes such an image is
//! root there. So only an administrator takes a container from an image without to one with, by an installation or by
//! `--accept-exports` in an update; with `--plain`, they are ignored. The decision is in `info`, and that they are ignored in
//! `.NAME.state` as well, so that no rollback takes it back. A label that changes how a container runs is treated in the same way.

use crate::container::deployment::Deployments;
use crate::container::info::{ExportsUse, Info};
use crate::container::state::State;
use crate::error::{Error, Kind, Result};
use crate::image::Image;
use crate::image::exports::{self, Exports, RUN_ONCE_LABEL};
use crate::image::tree::{Directory, Tree, WithoutExports};
use crate::name::{Deployment, Name};
use crate::provenance::Provenance;

/// How it is said that a container would no longer run once.
pub const NOT_RUN_ONCE: &str = "no atomic.run=once";

/// What the user says about `/exports`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Nothing: an installation uses them, and an update does as was done before.
    #[default]
    AsBefore,
    /// `--accept-exports`: this update may bring some.
    Accept,
    /// A declaration names the image, or says that they are not ignored: what there is may come, as in an installation.
    Admit,
    /// `--plain`: they are ignored, now and later.
    Ignore,
}

/// What a container had from its image before an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    exports: ExportsUse,
    run_once: bool,
}

impl Granted {
    /// Nothing that an administrator would have to decide on.
    pub const NOTHING: Granted = Granted { exports: ExportsUse::None, run_once: false };

    /// Reads what was recorded. Atomic recorded nothing, but used whatever the image had, and its images are made with
    /// `/exports`: only a deployment whose files show that there is nothing is plain.
    pub fn of(deployments: &Deployments, deployment: &Deployment, info: &Info) -> Granted {
        if let Some(ours) = info.ours() {
            return Granted { exports: ours.exports, run_once: ours.execution.run_once };
        }
        let rootfs = deployments.path_of(deployment).join("rootfs");
        let has_files = !info.has_container_service || !info.host_files.installed_files.is_empty();
        let is_plain =
            || rootfs.is_dir() && exports::brought(&Directory(rootfs)).is_ok_and(|it| it.is_empty());
        let exports = if !has_files && is_plain() { ExportsUse::None } else { ExportsUse::Accepted };
        Granted { exports, run_once: false }
    }

    /// The same of a container, whose state says what was decided last.
    pub fn now(self, state: &State) -> Granted {
        if state.ignores_exports { Granted { exports: ExportsUse::Ignored, ..self } } else { self }
    }

    /// Whether an image can bring anything that needs the user's word.
    pub fn is_choosy(self) -> bool {
        self.exports == ExportsUse::None
    }

    /// What an update to an image would add, in the words of messages; nothing if that needs nobody's word.
    pub fn added_by(self, tree: &dyn Tree, image: &Image) -> Result<Vec<&'static str>> {
        if self.exports == ExportsUse::Ignored {
            return Ok(Vec::new());
        }
        Ok(self.missing(&exports::brought(tree)?, exports::is_run_once(image)?))
    }

    fn missing(self, brought: &[&'static str], run_once: bool) -> Vec<&'static str> {
        if self.exports == ExportsUse::Accepted {
            return Vec::new();
        }
        let label = match (self.run_once, run_once) {
            (false, true) => Some(RUN_ONCE_LABEL),
            (true, false) => Some(NOT_RUN_ONCE),
            _ => None,
        };
        brought.iter().copied().chain(label).collect()
    }
}

/// What a deployment uses of an image.
pub struct Accepted<'a> {
    /// The files of the image, without those that are ignored.
    pub tree: Box<dyn Tree + 'a>,
    /// What the image says about its installation.
    pub exports: Exports,
    /// What becomes of `/exports`.
    pub usage: ExportsUse,
    /// What the user is told: that the container gets what it did not have.
    pub notice: Option<String>,
}

/// Decides what is used of an image. It is an error of [`Kind::Unaccepted`] if that needs the user's word.
pub fn decide<'a>(
    name: &Name,
    tree: Box<dyn Tree + 'a>,
    image: &Image,
    granted: Option<Granted>,
    wish: Wish,
) -> Result<Accepted<'a>> {
    let was_ignored = granted.is_some_and(|granted| granted.exports == ExportsUse::Ignored);
    if wish == Wish::Ignore || was_ignored && wish == Wish::AsBefore {
        return ignored(tree, image, None);
    }
    let brought = exports::brought(&*tree)?;
    // Whoever ignored what there was has accepted nothing yet.
    let before = match granted {
        Some(Granted { exports: ExportsUse::Ignored, .. }) | None => Granted::NOTHING,
        Some(granted) => granted,
    };
    let added = before.missing(&brought, exports::is_run_once(image)?);
    let notice = match (granted, wish) {
        (None, _) => (!brought.is_empty()).then(|| {
            format!(
                "{name} is installed with {}, and so can do anything on this host, see syscontainers(7); --plain ignores that",
                brought.join(", ")
            )
        }),
        (Some(_), Wish::Accept) if added.is_empty() => {
            let nothing = format!("{} has nothing left to accept; --accept-exports has no effect", image.name);
            if was_ignored && brought.is_empty() {
                return ignored(tree, image, Some(nothing));
            }
            Some(nothing)
        }
        (Some(_), Wish::Admit) if added.is_empty() => None,
        (Some(_), Wish::Accept | Wish::Admit) => Some(format!("accepted {} for {name}", added.join(", "))),
        (Some(_), _) if added.is_empty() => None,
        (Some(_), _) => return Err(unaccepted(name, image, &added)),
    };
    let exports = Exports::read(&*tree, image)?;
    let usage = if brought.is_empty() { ExportsUse::None } else { ExportsUse::Accepted };
    Ok(Accepted { tree, exports, usage, notice })
}

fn ignored<'a>(tree: Box<dyn Tree + 'a>, image: &Image, notice: Option<String>) -> Result<Accepted<'a>> {
    let tree = Box::new(WithoutExports(tree));
    Ok(Accepted { tree, exports: Exports::none(image)?, usage: ExportsUse::Ignored, notice })
}

fn unaccepted(name: &Name, image: &Image, added: &[&str]) -> Error {
    let is_root = added.iter().any(|what| ![RUN_ONCE_LABEL, NOT_RUN_ONCE].contains(what));
    let before = match added.contains(&NOT_RUN_ONCE) {
        true => format!("unlike the image that {name} was installed from"),
        false => format!("which {name} was installed without"),
    };
    let consequence = if is_root { "it could do anything on this host" } else { "it would run differently" };
    Error::of_kind(
        Kind::Unaccepted,
        format!("{} ({}) has {}, {before}: {consequence}", image.name, image.digest, added.join(", ")),
    )
}

/// Remembers what became of the `/exports` of an update. It stays, whichever deployment is current later.
pub fn remember(state: &mut State, update: &Info) {
    if let Some(ours) = update.ours() {
        state.ignores_exports = ours.exports == ExportsUse::Ignored;
    }
}

/// Whether a deployment uses `/exports` that the container ignores by now.
pub fn is_overruled(state: &State, deployment: &Info) -> bool {
    state.ignores_exports && deployment.ours().is_some_and(|ours| ours.exports == ExportsUse::Accepted)
}

/// Refuses an image of another source, or for another architecture, than what a container was made from `before`.
pub fn check_provenance(name: &Name, image: &Image, before: Option<&Provenance>) -> Result<()> {
    match before.filter(|before| !before.is_same(&image.provenance)) {
        None => Ok(()),
        Some(before) => Err(Error::new(format!(
            "image {} in the store is {}, and {name} is made from {before}; pull that again with 'syscontainer-pull --container={name}', or change where {name} comes from with --rebase={}",
            image.name, image.provenance, image.name
        ))),
    }
}

/// Adds to an error of [`decide`] how the user can go on; `options` are those of the update.
pub fn with_remedy(error: Error, name: &Name, options: &str) -> Error {
    if error.kind() != Kind::Unaccepted {
        return error;
    }
    let command = format!("syscontainer-checkout --update{options}");
    Error::of_kind(
        Kind::Unaccepted,
        format!(
            "{error}; accept it with '{command} --accept-exports {name}', or ignore it, now and in later updates, with '{command} --plain {name}'"
        ),
    )
}
