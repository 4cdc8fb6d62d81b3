//! Shows the installed containers.

use std::process::ExitCode;

use syscontainers::digest::Digest;
use syscontainers::error::{Context, Result};
use syscontainers::install::site::Site;
use syscontainers::list::containers::{self, ContainerRow, Filter};
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Completes, Opt, Program};
use syscontainers::program::options::prelude::*;
use syscontainers::program::{log, table, text};
use syscontainers::store::Store;
use syscontainers::system::tree;

const PROGRAM: Program = Program {
    name: "syscontainer-list",
    synopsis: &["[OPTION...]"],
    about: "Shows the installed containers, their states and their problems.",
    options: &[
        Opt::flag("quiet", "print names only").short('q'),
        Opt::flag("json", "print JSON"),
        Opt::valued(
            "filter",
            "KEY=VALUE",
            "show only containers whose name, state, image, digest or problem contains VALUE; may be repeated",
        )
        .completes(Completes::Words(&["name=", "state=", "image=", "digest=", "problem="])),
        Opt::root("show the containers of the tree below DIR"),
    ],
    operands: Completes::Nothing,
    statuses: &[0, 1, 2],
};

struct Args {
    root: Root,
    json: bool,
    quiet: bool,
    filters: Vec<Filter>,
}

fn parse(arguments: Vec<Argument>) -> Result<Args, lexopt::Error> {
    let mut args = Args { root: Root::default(), json: false, quiet: false, filters: Vec::new() };
    for argument in arguments {
        match argument {
            Flag("quiet") => args.quiet = true,
            Flag("json") => args.json = true,
            Valued("filter", value) => args.filters.push(value.parse()?),
            Valued("root", value) => args.root = tree::open(value)?,
            other => return Err(other.unexpected()),
        }
    }
    Ok(args)
}

fn run(args: Args) -> Result<()> {
    let site = Site::new(&args.root);
    // Without a store, nothing is pending.
    let store = Store::open_existing(&args.root, None).unwrap_or_else(|e| {
        log::warning(&format!("{e}; not showing what is pending"));
        None
    });
    let mut rows = containers::list(&site, store.as_ref()).context(|| "cannot list containers".into())?;
    rows.retain(|row| args.filters.iter().all(|filter| filter.accepts(row)));
    if args.quiet {
        return rows.iter().try_for_each(|row| cli::print(&format!("{}\n", text::printable(&row.name))));
    }
    if args.json {
        containers::add_written(&site, &mut rows);
        return cli::print_json(&rows);
    }
    let heading = ["NAME", "STATE", "DEPLOYMENT", "IMAGE", "DIGEST", "SINCE", "PENDING", "PROBLEMS"];
    let mut cells = vec![heading.map(str::to_owned)];
    cells.extend(rows.iter().map(to_cells));
    cli::print(&table::format(&cells))
}

fn to_cells(row: &ContainerRow) -> [String; 8] {
    let or_dash = |text: Option<&str>| text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
    let short = |digest: &Option<Digest>| digest.as_ref().map(|digest| digest.short().to_owned());
    [
        row.name.clone(),
        or_dash(Some(&row.state)),
        or_dash(deployment(row).as_deref()),
        or_dash(row.image.as_deref()),
        or_dash(short(&row.digest).as_deref()),
        or_dash(row.since.as_deref()),
        or_dash(pending(row, short(&row.pending)).as_deref()),
        or_dash(Some(&row.problems.join("; "))),
    ]
}

/// The current deployment, and whether it came with the operating system.
fn deployment(row: &ContainerRow) -> Option<String> {
    let name = row.deployment.as_ref()?;
    Some(if row.preinstalled { format!("{name} (preinstalled)") } else { name.clone() })
}

/// What an update would make current: the staged deployment, or else the digest of an image; and whether it is held.
fn pending(row: &ContainerRow, digest: Option<String>) -> Option<String> {
    let pending = row.staged.as_ref().map(|staged| format!("{staged} (staged)")).or(digest);
    if row.held { Some(pending.map_or("held".into(), |pending| format!("{pending}, held"))) } else { pending }
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
