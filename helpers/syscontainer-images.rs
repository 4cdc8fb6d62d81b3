//! Shows the images in the store, or one of them.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use syscontainers::container::deployment::Deployments;
use syscontainers::error::{Error, Result};
use syscontainers::image::exports::Exports;
use syscontainers::image::tree::Tree;
use syscontainers::list::images;
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Command, Program};
use syscontainers::program::log;
use syscontainers::store::Store;
use syscontainers::store::catalog;
use syscontainers::update::retention::Users;

const PROGRAM: Program = Program {
    name: "syscontainer-images",
    usage: "\
Usage: syscontainer-images [OPTION...] [IMAGE]

Shows the images in the store; of IMAGE also labels, layers and the variables of its
templates. See syscontainer-images(8).

  --json         print JSON
  --root=DIR     show the store of the tree below DIR
  --repo=DIR     show the image store in DIR
  -h, --help     show this help
  --version      show the version
",
};

struct Args {
    image: Option<String>,
    json: bool,
    root: Root,
    repo: Option<PathBuf>,
}

fn parse(parser: &mut lexopt::Parser) -> Result<Command<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut args = Args { image: None, json: false, root: Root::default(), repo: None };
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("version") => return Ok(Command::Version),
            Long("json") => args.json = true,
            Long("root") => args.root = Root::new(parser.value()?),
            Long("repo") => args.repo = Some(parser.value()?.into()),
            Value(value) if args.image.is_none() => args.image = Some(value.string()?),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Command::Run(args))
}

fn run(args: Args) -> Result<()> {
    let store = Store::open(&args.root, args.repo.as_deref())?;
    let _lock = store.lock_shared()?;
    let users = Users::find(&Deployments::new(&args.root))?;
    let (entries, broken) = catalog::list(&store)?;
    let Some(wanted) = &args.image else {
        broken.iter().for_each(|b| log::warning(&format!("cannot show {}: {}", b.name, b.problem)));
        return cli::print(&match args.json {
            true => pretty(&entries.iter().map(|entry| images::to_json(entry, &users)).collect()),
            false => images::table(&entries, &users),
        });
    };
    let image = store.find(wanted)?;
    let entry = entries.iter().find(|entry| entry.image.name == image.name);
    let entry =
        entry.ok_or_else(|| Error::new(format!("cannot show {}: it was removed meanwhile", image.name)))?;
    let exports = Exports::read(&Tree::Stored(&store, &image), &image)?;
    let variables = exports.variables(&Tree::Stored(&store, &image))?;
    if !args.json {
        return cli::print(&images::details(entry, &users, &variables)?);
    }
    let mut value = images::to_json(entry, &users);
    value["labels"] = json!(image.labels()?);
    value["layers"] = images::layers_to_json(entry);
    value["variables"] = json!({"defaults": variables.defaults, "missing": variables.missing});
    cli::print(&pretty(&value))
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
