//! Checks an image, its sources or a declaration for mistakes that would only show after the installation.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use syscontainers::container::settings::Settings;
use syscontainers::error::{Context, Error, Result};
use syscontainers::lint::rules::{self, RULES};
use syscontainers::lint::target::{Sources, Target};
use syscontainers::lint::{self, LintReport, declaration, remote};
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Completes, Opt, Outcome, Program};
use syscontainers::program::log;
use syscontainers::program::options::prelude::*;
use syscontainers::store::access::Access;
use syscontainers::store::pace::Patience;
use syscontainers::system::tree;

const PROGRAM: Program = Program {
    name: "syscontainer-lint",
    synopsis: &["[OPTION...] TARGET", "--list"],
    about: "Checks TARGET: a directory with the sources of an image, a declaration FILE.conf, an image in the image \
            store, or an image reference as in syscontainer-pull(8), which is pulled to a temporary store. Prints \
            one line for each problem, and changes nothing.",
    options: &[
        Opt::flag("list", "print all rules with the reasons for them").operands(Completes::Nothing),
        Opt::valued("skip", "RULE", "do not report the findings of a rule; may be repeated")
            .completes(Completes::Listed(|| RULES.iter().map(|rule| rule.id).collect())),
        Opt::valued("option", "KEY=VALUE", "check the image as installed with this option; may be repeated")
            .short('o'),
        Opt::flag("strict", "also fail if there are only warnings"),
        Opt::flag("json", "print the findings as JSON"),
        Access::ARCH,
        Access::AUTHFILE,
        Access::IDLE_TIMEOUT,
        Access::POLICY,
        Access::TLS_VERIFY,
        Opt::root("look in the store of the tree below DIR"),
        Opt::repo("look in the image store in DIR"),
    ],
    operands: Completes::Directory,
    statuses: &[0, 1, 2],
};

struct Args {
    /// `None` lists the rules.
    target: Option<PathBuf>,
    skip: Vec<String>,
    settings: Settings,
    strict: bool,
    json: bool,
    access: Access,
    root: Root,
    repo: Option<PathBuf>,
}

fn parse(arguments: Vec<Argument>) -> Result<Args, lexopt::Error> {
    let (mut target, mut skip, mut list) = (None, Vec::new(), false);
    let (mut strict, mut json, mut settings) = (false, false, Settings::default());
    let (mut access, mut root, mut repo) = (Access::default(), Root::default(), None);
    for argument in arguments {
        match argument {
            Flag("list") => list = true,
            Valued("skip", value) => skip.push(value.parse_with(known)?),
            Valued("option", value) => settings.assign(&parse_unshown(value)?),
            Flag("strict") => strict = true,
            Flag("json") => json = true,
            Valued("arch", value) => access.arch = Some(value.string()?),
            Valued("authfile", value) => access.authfile = Some(value.into()),
            Valued("idle-timeout", value) => access.patience = value.parse_with(Patience::parse)?,
            Valued("policy", value) => access.policy = Some(value.into()),
            Valued("tls-verify", value) => access.tls_verify = Some(value.parse()?),
            Valued("root", value) => root = tree::open(value)?,
            Valued("repo", value) => repo = Some(value.into()),
            Operand(value) if target.is_none() => target = Some(PathBuf::from(value)),
            other => return Err(other.unexpected()),
        }
    }
    match (&target, list) {
        (Some(_), true) => return Err("--list takes no TARGET".into()),
        (None, false) => return Err("missing TARGET".into()),
        _ => {}
    }
    Ok(Args { target, skip, settings, strict, json, access, root, repo })
}

fn known(id: &str) -> Result<String> {
    match rules::find(id) {
        Some(rule) => Ok(rule.id.to_owned()),
        None => Err(Error::usage("there is no such rule, see --list")),
    }
}

fn run(args: Args) -> Result<Outcome> {
    let Some(target) = &args.target else {
        return list(args.json).map(Into::into);
    };
    let mut report = report(&args, target)?;
    report.skip(&args.skip);
    report.notes.iter().for_each(|note| log::info(note));
    report.omissions().for_each(|note| log::warning(&note));
    if args.json {
        let findings: Vec<_> = report.findings.iter().map(|finding| finding.to_json()).collect();
        cli::print_json(&findings)?;
    } else {
        cli::print(&report.findings.iter().map(|finding| format!("{finding}\n")).collect::<String>())?;
    }
    let is_bad = report.has(|rule| args.strict || rule.is_error());
    Ok(if is_bad { Outcome::Findings } else { Outcome::Success })
}

fn report(args: &Args, target: &Path) -> Result<LintReport> {
    if target.is_dir() {
        return lint::check(&Target::Sources(&Sources::open(target)?), &args.settings);
    }
    if declaration::is_one(target) {
        if !args.settings.is_empty() {
            return Err(Error::usage(
                "a declaration says its options itself, -o cannot be combined with one",
            ));
        }
        return declaration::check(target);
    }
    let text = target.to_str().ok_or_else(|| Error::usage(format!("{target:?} is not UTF-8")))?;
    if target.exists() || text.starts_with(['.', '/']) {
        // Opening a path that is not a directory fails, and the kernel gives the reason.
        std::fs::read_dir(target).context(|| format!("cannot check {text}"))?;
    }
    remote::check_reference(text, &args.root, args.repo.as_deref(), &args.access, &args.settings)
}

fn list(json: bool) -> Result<()> {
    if json {
        let rules = RULES.iter().map(|rule| {
            let severity = rule.severity.as_str();
            serde_json::json!({"rule": rule.id, "severity": severity, "explanation": rule.explanation})
        });
        return cli::print_json(&rules.collect::<Vec<_>>());
    }
    let rules = RULES.iter().map(|rule| {
        let severity = rule.severity.as_str();
        format!("{} ({severity})\n    {}\n", rule.id, rule.explanation)
    });
    cli::print(&rules.collect::<Vec<_>>().join("\n"))
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
