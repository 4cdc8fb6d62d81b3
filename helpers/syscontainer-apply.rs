//! Makes the host what its declarations say.
//!
//! If this is killed at any point, the same command completes it.

use std::path::PathBuf;
use std::process::ExitCode;

use syscontainers::apply::carry_out::{Applier, Scope};
use syscontainers::apply::fetch::Fetch;
use syscontainers::apply::images::{Images, Stored};
use syscontainers::apply::row::{Action, Done, Outcome, Row};
use syscontainers::apply::select::{self, Selected};
use syscontainers::apply::{gone, print};
use syscontainers::error::{Context, Error, Kind, Result};
use syscontainers::install::site::Site;
use syscontainers::name::Name;
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Completes, Opt, Program};
use syscontainers::program::log;
use syscontainers::program::options::prelude::*;
use syscontainers::system::tree;

const PROGRAM: Program = Program {
    name: "syscontainer-apply",
    synopsis: &["[OPTION...] [NAME|FILE|DIRECTORY...]", "--print=NAME"],
    about: "Makes the host what its declarations say, see syscontainer.conf(5): pulls and installs what is declared \
            and not there, and updates what is there and declared otherwise. Without operands, all declarations \
            of the host are applied; NAME is one of them, and a path has others.\n\n\
            Prints for each container what was done. What is as declared stays as it is.",
    options: &[
        Opt::flag("dry-run", "change nothing, only print what would be done"),
        Opt::flag("json", "print the result as JSON"),
        Opt::flag("exit-code", "end with status 7 if anything was changed"),
        Opt::flag("prune", "also remove containers whose declarations are gone"),
        Opt::flag("no-pull", "pull nothing, use what is in the store"),
        Opt::flag("pull-only", "pull what is needed, and do nothing else"),
        Opt::flag("start", "start what was installed, if it is enabled"),
        Opt::valued("print", "NAME", "print the declaration that gives the installed container NAME again")
            .completes(Completes::Container)
            .operands(Completes::Nothing),
        Opt::root("apply the declarations of the tree below DIR to it"),
        Opt::repo("use the image store in DIR"),
        Opt::flag("quiet", "show no progress").short('q'),
    ],
    operands: Completes::File,
    statuses: &[0, 1, 2, 3, 4, 6, 7],
};

#[derive(Default)]
struct Args {
    operands: Vec<select::Operand>,
    print: Option<Name>,
    scope: Scope,
    json: bool,
    exit_code: bool,
    prune: bool,
    quiet: bool,
    root: Root,
    repo: Option<PathBuf>,
}

fn parse(arguments: Vec<Argument>) -> Result<Args, lexopt::Error> {
    let mut args = Args::default();
    for argument in arguments {
        match argument {
            Flag("dry-run") => args.scope.dry_run = true,
            Flag("json") => args.json = true,
            Flag("exit-code") => args.exit_code = true,
            Flag("prune") => args.prune = true,
            Flag("no-pull") => args.scope.no_pull = true,
            Flag("pull-only") => args.scope.pull_only = true,
            Flag("start") => args.scope.start = true,
            Flag("quiet") => args.quiet = true,
            Valued("print", value) => args.print = Some(value.parse()?),
            Valued("root", value) => args.root = tree::open(value)?,
            Valued("repo", value) => args.repo = Some(value.into()),
            Operand(value) => args.operands.push(value.parse()?),
            other => return Err(other.unexpected()),
        }
    }
    let scope = args.scope;
    if scope.no_pull && scope.pull_only {
        return Err("--no-pull and --pull-only cannot be combined".into());
    }
    if scope.pull_only && (args.prune || scope.start || scope.dry_run) {
        return Err("--pull-only cannot be combined with --prune, --start or --dry-run".into());
    }
    let is_path = |operand: &select::Operand| matches!(operand, select::Operand::Path(_));
    if args.prune && args.operands.iter().any(is_path) {
        return Err("--prune goes by the declarations of the host, and cannot be combined with a path".into());
    }
    if args.print.is_some() && (args.prune || scope != Scope::default() || !args.operands.is_empty()) {
        return Err("--print cannot be combined with anything that applies declarations".into());
    }
    Ok(args)
}

fn run(args: Args) -> Result<cli::Outcome> {
    let site = Site::new(&args.root);
    if let Some(name) = &args.print {
        let printed =
            print::print(&site, name).context(|| format!("cannot print a declaration of {name}"))?;
        printed.warnings.iter().for_each(|warning| log::warning(warning));
        return cli::print(&printed.text).map(Into::into);
    }
    let (selected, errors) = select::select(&args.root, &args.operands);
    let (mut rows, mut kinds) = (Vec::new(), Vec::new());
    let fetch = Fetch {
        root: &args.root,
        repo: args.repo.as_deref(),
        is_patient: args.scope.pull_only,
        quiet: args.quiet,
    };
    let applier = Applier { site: &site, fetch, scope: args.scope };
    let images = || Ok(Box::new(Stored::open(&args.root, args.repo.as_deref())?) as Box<dyn Images>);
    let has_errors = !errors.is_empty();
    errors.into_iter().for_each(|error| fail(error, &mut rows, &mut kinds));
    for Selected { name, file, declaration } in selected {
        let is_pruned = args.prune && file.is_none();
        let file = file.map(|file| file.to_string());
        if is_pruned && gone::declaration(&site.deployments, &name).is_ok_and(|gone| gone.is_some()) {
            continue;
        }
        let applied = declaration.and_then(|declaration| {
            declaration.warnings.iter().for_each(|warning| log::warning(warning));
            applier
                .apply(&declaration, images)
                .context(|| format!("cannot apply {}", declaration.source.path))
        });
        rows.push(row(&name, file, applied, &mut kinds));
    }
    if args.prune && has_errors {
        log::warning("removing nothing, since not all declarations could be looked for");
    } else if args.prune {
        prune(&args, &site, &mut rows, &mut kinds);
    }
    show(&args, &rows)?;
    Ok(outcome(&args, &rows, &kinds))
}

fn row(name: &Name, file: Option<String>, applied: Result<Done>, kinds: &mut Vec<Kind>) -> Row {
    match applied {
        Ok(done) => Row::done(name.as_str(), file, done),
        Err(error) => {
            log::error(&error.to_string());
            kinds.push(error.kind());
            Row::failed(name.as_str(), file, &error.to_string())
        }
    }
}

/// Removes containers whose declarations are gone: of those that were named, or of all.
fn prune(args: &Args, site: &Site, rows: &mut Vec<Row>, kinds: &mut Vec<Kind>) {
    let is_meant = |name: &Name| {
        args.operands.is_empty() || args.operands.contains(&select::Operand::Name(name.clone()))
    };
    let all =
        match gone::all(site).context(|| "cannot look for containers whose declarations are gone".into()) {
            Ok(all) => all,
            Err(error) => return fail(error, rows, kinds),
        };
    for (name, path) in all.into_iter().filter(|(name, _)| is_meant(name)) {
        let removed = if args.scope.dry_run { Ok(()) } else { gone::remove(site, &name) };
        let would = if args.scope.dry_run { "would be removed" } else { "removed" };
        let done = removed.map(|()| Done::new(Action::Removed, format!("{would}, since {path} is gone")));
        rows.push(row(&name, None, done, kinds));
    }
}

/// Reports what is no container's.
fn fail(error: Error, rows: &mut Vec<Row>, kinds: &mut Vec<Kind>) {
    log::error(&error.to_string());
    rows.push(Row::failed("", None, &error.to_string()));
    kinds.push(error.kind());
}

fn show(args: &Args, rows: &[Row]) -> Result<()> {
    if args.json {
        return cli::print_json(&rows);
    }
    // What is no container's was said already.
    let lines: String = rows.iter().filter(|row| !row.name.is_empty()).map(Row::line).collect();
    cli::print(&lines)
}

/// The status of one container is that of its failure, so that a unit knows whether another attempt may help.
fn outcome(args: &Args, rows: &[Row], kinds: &[Kind]) -> cli::Outcome {
    match kinds {
        [] if args.exit_code && rows.iter().any(|row| row.result == Outcome::Changed) => {
            cli::Outcome::Changed
        }
        [] => cli::Outcome::Success,
        [kind] if rows.len() == 1 => cli::Outcome::Failed(*kind),
        _ => cli::Outcome::Failed(Kind::Failure),
    }
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
