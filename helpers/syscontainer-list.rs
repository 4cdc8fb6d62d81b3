//! Shows the containers that are installed.

use std::process::ExitCode;

use syscontainers::digest;
use syscontainers::error::{Context, Result};
use syscontainers::install::site::Site;
use syscontainers::list::containers::{self, ContainerRow, Filter};
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Command, Program};
use syscontainers::program::table;
use syscontainers::store::Store;

const PROGRAM: Program = Program {
    name: "syscontainer-list",
    usage: "\
Usage: syscontainer-list [OPTION...]

Shows the containers that are installed, their state and what is wrong with them.
See syscontainer-list(8).

  -q, --quiet      print names only
  --json           print JSON
  --filter=KEY=VALUE
                   show those whose name, state, image, digest or problem has VALUE in it;
                   may be repeated
  --root=DIR       show those of the tree below DIR
  -h, --help       show this help
  --version        show the version
",
};

struct Args {
    root: Root,
    json: bool,
    quiet: bool,
    filters: Vec<Filter>,
}

fn parse(parser: &mut lexopt::Parser) -> Result<Command<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut args = Args { root: Root::default(), json: false, quiet: false, filters: Vec::new() };
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("version") => return Ok(Command::Version),
            Short('q') | Long("quiet") => args.quiet = true,
            Long("json") => args.json = true,
            Long("filter") => args.filters.push(parser.value()?.parse()?),
            Long("root") => args.root = Root::new(parser.value()?),
            _ => return Err(arg.unexpected()),
        }
    }
    Ok(Command::Run(args))
}

fn run(args: Args) -> Result<()> {
    let site = Site::new(&args.root);
    // Without a store nothing is pending.
    let store = Store::open(&args.root, None).ok();
    let mut rows = containers::list(&site, store.as_ref()).context(|| "cannot list containers".into())?;
    rows.retain(|row| args.filters.iter().all(|filter| filter.accepts(row)));
    if args.quiet {
        return rows.iter().try_for_each(|row| cli::print(&format!("{}\n", table::shown(&row.name))));
    }
    if args.json {
        let text = serde_json::to_string_pretty(&rows).context(|| "cannot print JSON".into())?;
        return cli::print(&format!("{text}\n"));
    }
    let heading = ["NAME", "STATE", "DEPLOYMENT", "IMAGE", "DIGEST", "SINCE", "PENDING", "PROBLEMS"];
    let mut cells = vec![heading.map(str::to_owned)];
    cells.extend(rows.iter().map(to_cells));
    cli::print(&table::format(&cells))
}

fn to_cells(row: &ContainerRow) -> [String; 8] {
    let or_dash = |text: Option<&str>| text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned();
    let short = |digest: &Option<String>| digest.as_deref().map(|digest| digest::shorten(digest).to_owned());
    [
        row.name.clone(),
        or_dash(Some(&row.state)),
        or_dash(row.deployment.as_deref()),
        or_dash(row.image.as_deref()),
        or_dash(short(&row.digest).as_deref()),
        or_dash(row.since.as_deref()),
        or_dash(pending(row, short(&row.pending)).as_deref()),
        or_dash(Some(&row.problems.join("; "))),
    ]
}

/// What is nearest to being current.
fn pending(row: &ContainerRow, digest: Option<String>) -> Option<String> {
    let pending = row.staged.as_ref().map(|staged| format!("{staged} (staged)")).or(digest);
    if row.held { Some(pending.map_or("held".into(), |pending| format!("{pending}, held"))) } else { pending }
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
