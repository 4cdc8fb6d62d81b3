//! Shows the images in the store, or one of them.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use syscontainers::container::deployment::Deployments;
use syscontainers::error::{Error, Result};
use syscontainers::image::exports::Exports;
use syscontainers::image::profile::Profile;
use syscontainers::list::images;
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Completes, Opt, Program};
use syscontainers::program::log;
use syscontainers::program::options::prelude::*;
use syscontainers::program::text;
use syscontainers::store::Store;
use syscontainers::store::catalog;
use syscontainers::system::tree;
use syscontainers::update::retention::Users;

const PROGRAM: Program = Program {
    name: "syscontainer-images",
    synopsis: &["[OPTION...] [IMAGE]"],
    about: "Shows the images in the store, or IMAGE alone with its configuration, its labels, its layers and \
            the variables of its templates.",
    options: &[
        Opt::flag("quiet", "print names only").short('q'),
        Opt::flag("json", "print JSON"),
        Opt::root("show the store of the tree below DIR"),
        Opt::repo("show the image store in DIR"),
    ],
    operands: Completes::Image,
    statuses: &[0, 1, 2],
};

struct Args {
    image: Option<String>,
    quiet: bool,
    json: bool,
    root: Root,
    repo: Option<PathBuf>,
}

fn parse(arguments: Vec<Argument>) -> Result<Args, lexopt::Error> {
    let mut args = Args { image: None, quiet: false, json: false, root: Root::default(), repo: None };
    for argument in arguments {
        match argument {
            Flag("quiet") => args.quiet = true,
            Flag("json") => args.json = true,
            Valued("root", value) => args.root = tree::open(value)?,
            Valued("repo", value) => args.repo = Some(value.into()),
            Operand(value) if args.image.is_none() => args.image = Some(value.string()?),
            other => return Err(other.unexpected()),
        }
    }
    if args.quiet && (args.json || args.image.is_some()) {
        return Err("--quiet cannot be combined with --json or IMAGE".into());
    }
    Ok(args)
}

fn run(args: Args) -> Result<()> {
    let store = Store::open(&args.root, args.repo.as_deref())?;
    if args.quiet {
        // Without a lock: names are read in one go, and a prune would block the completion of a shell.
        return catalog::names(&store)?
            .iter()
            .try_for_each(|name| cli::print(&format!("{}\n", text::printable(name))));
    }
    let _lock = store.lock_shared()?;
    if args.image.is_none() {
        tell_unadopted(&store)?;
    }
    let users = Users::find(&Deployments::new(&args.root))?;
    let (entries, broken) = catalog::list(&store)?;
    let Some(wanted) = &args.image else {
        broken.iter().for_each(|b| log::warning(&format!("cannot show {}: {}", b.name, b.problem)));
        if args.json {
            let values = entries.iter().map(|entry| images::to_json(entry, &users));
            return cli::print_json(&values.collect::<Vec<_>>());
        }
        return cli::print(&images::table(&entries, &users));
    };
    let image = store.find(wanted)?;
    let entry = entries.iter().find(|entry| entry.image.name == image.name);
    let entry = entry
        .ok_or_else(|| Error::new(format!("cannot show {}: it was removed in the meantime", image.name)))?;
    let tree = store.tree(&image);
    let exports = Exports::read(&tree, &image)?;
    let variables = exports.variables(&tree)?;
    if !args.json {
        return cli::print(&images::details(entry, &users, &variables)?);
    }
    let mut value = images::to_json(entry, &users);
    value["configuration"] = json!(Profile::of(&image)?);
    value["labels"] = json!(image.labels()?);
    value["layers"] = images::layers_to_json(entry);
    value["variables"] = json!({"defaults": variables.defaults, "missing": variables.missing});
    cli::print_json(&value)
}

/// Images that Atomic pulled into the host's repository are installed as those of the store.
fn tell_unadopted(store: &Store) -> Result<()> {
    for name in store.unadopted()? {
        log::info(&format!(
            "Atomic pulled {name} into the host's repository, and 'syscontainer-checkout {name}' takes it from there"
        ));
    }
    Ok(())
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
