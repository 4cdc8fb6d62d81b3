//! Removes installed containers.

use std::process::ExitCode;

use syscontainers::container::derived;
use syscontainers::declaration::files;
use syscontainers::error::{Context, Result};
use syscontainers::install::preinstall;
use syscontainers::install::remover::{self, Options};
use syscontainers::install::site::Site;
use syscontainers::name::Name;
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Completes, Opt, Program};
use syscontainers::program::log;
use syscontainers::program::options::prelude::*;
use syscontainers::system::lock;
use syscontainers::system::tree;

const PROGRAM: Program = Program {
    name: "syscontainer-remove",
    synopsis: &["[OPTION...] NAME"],
    about: "Stops the container NAME and removes its unit, its deployments and its host files. What it wrote \
            is kept, and so are files that were changed on the host.",
    options: &[
        Opt::flag("purge", "also remove what the container wrote"),
        Opt::flag("force", "remove the container even if active units require it"),
        Opt::root("remove the container from the tree below DIR"),
    ],
    operands: Completes::Container,
    statuses: &[0, 1, 2, 3],
};

struct Args {
    name: Name,
    root: Root,
    options: Options,
}

fn parse(arguments: Vec<Argument>) -> Result<Args, lexopt::Error> {
    let (mut name, mut root, mut options) = (None, Root::default(), Options::default());
    for argument in arguments {
        match argument {
            Flag("purge") => options.purge = true,
            Flag("force") => options.force = true,
            Valued("root", value) => root = tree::open(value)?,
            Operand(value) if name.is_none() => name = Some(value.parse()?),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Args { name: name.ok_or("missing NAME")?, root, options })
}

fn run(args: Args) -> Result<()> {
    let name = &args.name;
    let what = || format!("cannot remove {name}");
    let _lock = lock::container(&args.root, name).context(what)?;
    let site = Site::new(&args.root);
    if !site.manager.is_running() && is_only_preinstalled(&site, name).context(what)? {
        preinstall::remove(&Site::preinstalled(&args.root), name).context(what)?;
        log::info(&format!("removed {name} from what comes with the operating system"));
        return Ok(());
    }
    let host_files = lock::host_files(&args.root).context(what)?;
    let removed = remover::remove(&site, name, args.options).context(what)?;
    // Nobody has to wait for what a payload made much of.
    drop(host_files);
    remover::finish(&site, name, &removed.purged).context(what)?;
    removed.left.iter().for_each(|what| log::info(&format!("left {what}")));
    let source = files::find(&args.root, name).ok().flatten();
    // One that is broken installs nothing.
    if let Some(source) = source.filter(|source| files::read(&args.root, name, source).is_ok()) {
        log::info(&format!(
            "its declaration {} installs it again, at the next boot for one; remove that as well, or mask it with a link to /dev/null",
            source.path
        ));
    }
    Ok(())
}

/// Whether a container is part of the system in a tree, and nothing else of it is there.
fn is_only_preinstalled(site: &Site, name: &Name) -> Result<bool> {
    let found = site.deployments.all(name)?;
    let is_here = site.deployments.link(name).is_symlink()
        || !found.deployments.is_empty()
        || !found.leftovers.is_empty()
        || derived::is_there(site.root(), name);
    Ok(!is_here && preinstall::is_there(site.root(), name)?)
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
