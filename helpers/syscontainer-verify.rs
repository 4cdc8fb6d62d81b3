//! Verifies containers and the image store, and mends what is damaged.

use std::path::PathBuf;
use std::process::ExitCode;

use syscontainers::error::{Error, Kind, Result};
use syscontainers::install::site::Site;
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Completes, Opt, Program};
use syscontainers::program::log;
use syscontainers::program::options::prelude::*;
use syscontainers::store::Store;
use syscontainers::store::access::Access;
use syscontainers::store::progress::Progress;
use syscontainers::system::journal::{self, Event, Subject};
use syscontainers::system::tree;
use syscontainers::verify::row::Row;
use syscontainers::verify::{self, Means, Scope};

const PROGRAM: Program = Program {
    name: "syscontainer-verify",
    synopsis: &["[OPTION...] [NAME...]"],
    about: "Compares the files of deployments with the images that they were made from, and the objects of the image \
            store with their checksums, and prints what is damaged. Without NAME, all containers and the whole store \
            are verified.",
    options: &[
        Opt::flag("store", "verify the image store only"),
        Opt::flag("repair", "fetch damaged layers again, and mend the store and the deployments"),
        Opt::flag("json", "print JSON"),
        Opt::root("verify the tree below DIR"),
        Opt::repo("use the image store in DIR"),
        Access::AUTHFILE,
        Access::TLS_VERIFY,
        Opt::flag("quiet", "show no progress").short('q'),
    ],
    operands: Completes::Container,
    statuses: &[0, 1, 2, 3, 5],
};

#[derive(Default)]
struct Args {
    scope: Scope,
    repair: bool,
    json: bool,
    quiet: bool,
    root: Root,
    repo: Option<PathBuf>,
    access: Access,
}

fn parse(arguments: Vec<Argument>) -> Result<Args, lexopt::Error> {
    let mut args = Args::default();
    for argument in arguments {
        match argument {
            Flag("store") => args.scope.store_only = true,
            Flag("repair") => args.repair = true,
            Flag("json") => args.json = true,
            Flag("quiet") => args.quiet = true,
            Valued("root", value) => args.root = tree::open(value)?,
            Valued("repo", value) => args.repo = Some(value.into()),
            Operand(value) => args.scope.names.push(value.parse()?),
            other => args.access.set_source(other)?,
        }
    }
    if args.scope.store_only && !args.scope.names.is_empty() {
        return Err("--store cannot be combined with NAME".into());
    }
    Ok(args)
}

fn run(args: Args) -> Result<()> {
    let site = Site::new(&args.root);
    verify::check_names(&site, &args.scope.names)?;
    let Some(store) = Store::open_existing(&args.root, args.repo.as_deref())? else {
        return nothing(&args);
    };
    let observer = Progress::new(args.quiet);
    let means = Means { access: &args.access, observer: &observer };
    let rows = verify::verify(&site, &store, &args.scope, args.repair.then_some(&means))?;
    rows.iter().filter(|row| row.is_bad()).for_each(|row| record(&args.root, row));
    if args.json {
        cli::print_json(&rows)?;
    } else {
        cli::print(&rows.iter().map(Row::line).collect::<String>())?;
    }
    outcome(&args, &rows)
}

/// Without a store, there is nothing to compare with.
fn nothing(args: &Args) -> Result<()> {
    if args.json {
        return cli::print_json(&Vec::<Row>::new());
    }
    if !args.quiet {
        log::info("there is no image store, so there is nothing to verify");
    }
    Ok(())
}

fn record(root: &Root, row: &Row) {
    let deployment =
        row.deployment.as_deref().and_then(|name| name.parse::<syscontainers::name::Deployment>().ok());
    let name = deployment.as_ref().map(|deployment| deployment.name().clone());
    let subject = Subject { name, deployment, ..Subject::default() };
    journal::record(root, Event::Damaged, &subject, row.line().trim_end());
}

fn outcome(args: &Args, rows: &[Row]) -> Result<()> {
    let bad = rows.iter().filter(|row| row.is_bad()).count();
    if bad == 0 {
        if rows.is_empty() && !args.quiet && !args.json {
            log::info("nothing is damaged");
        }
        return Ok(());
    }
    let remedy = match args.repair {
        true => "see above why it is not repaired".to_owned(),
        false => {
            let names = args.scope.names.iter().map(|name| format!(" {name}")).collect::<String>();
            format!("'syscontainer-verify --repair{names}' mends what can be")
        }
    };
    let what = if bad == 1 { "something is damaged".to_owned() } else { format!("{bad} things are damaged") };
    Err(Error::of_kind(Kind::Damaged, format!("{what}; {remedy}")))
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
