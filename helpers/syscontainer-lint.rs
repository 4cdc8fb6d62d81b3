//! Checks the sources of an image, or an image, for what goes wrong once it is installed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use syscontainers::error::{Context, Error, Result};
use syscontainers::lint::rules::{self, RULES};
use syscontainers::lint::subject::{Source, Subject};
use syscontainers::lint::{self, LintReport, remote};
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Command, Program};
use syscontainers::program::log;
use syscontainers::store::access::Access;

const PROGRAM: Program = Program {
    name: "syscontainer-lint",
    usage: "\
Usage: syscontainer-lint [OPTION...] TARGET
       syscontainer-lint --list

Checks TARGET: a directory with the sources of an image, an image in the image store,
or an image reference as of syscontainer-pull(8), which is pulled to a temporary store.
Prints what is wrong, one line each; nothing is changed. See syscontainer-lint(8).

  --list             print all rules, and why they are
  --skip=RULE        leave out a rule; may be repeated
  --strict           fail for warnings, too
  --json             print the findings as JSON
  --arch=ARCH        choose the image for this architecture, not this machine's
  --authfile=FILE    read credentials from FILE
  --policy=FILE      enforce the signature policy in FILE
  --tls-verify=BOOL  whether to check the registry's certificate (true or false)
  --root=DIR         look in the store of the tree below DIR
  --repo=DIR         look in the store in DIR
  -h, --help         show this help
  --version          show the version
",
};

struct Args {
    /// `None` lists the rules.
    target: Option<PathBuf>,
    skip: Vec<String>,
    strict: bool,
    json: bool,
    access: Access,
    root: Root,
    repo: Option<PathBuf>,
}

fn parse(parser: &mut lexopt::Parser) -> Result<Command<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let (mut target, mut skip, mut list) = (None, Vec::new(), false);
    let (mut strict, mut json) = (false, false);
    let (mut access, mut root, mut repo) = (Access::default(), Root::default(), None);
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("version") => return Ok(Command::Version),
            Long("list") => list = true,
            Long("skip") => skip.push(parser.value()?.parse_with(known)?),
            Long("strict") => strict = true,
            Long("json") => json = true,
            Long("arch") => access.arch = Some(parser.value()?.string()?),
            Long("authfile") => access.authfile = Some(parser.value()?.into()),
            Long("policy") => access.policy = Some(parser.value()?.into()),
            Long("tls-verify") => access.tls_verify = Some(parser.value()?.parse()?),
            Long("root") => root = Root::new(parser.value()?),
            Long("repo") => repo = Some(parser.value()?.into()),
            Value(value) if target.is_none() => target = Some(PathBuf::from(value)),
            _ => return Err(arg.unexpected()),
        }
    }
    match (&target, list) {
        (Some(_), true) => return Err("--list takes no TARGET".into()),
        (None, false) => return Err("missing TARGET".into()),
        _ => {}
    }
    Ok(Command::Run(Args { target, skip, strict, json, access, root, repo }))
}

fn known(id: &str) -> Result<String> {
    match rules::find(id) {
        Some(rule) => Ok(rule.id.to_owned()),
        None => Err(Error::usage("there is no such rule, see --list")),
    }
}

/// Tells whether the target is good enough.
fn run(args: &Args) -> Result<bool> {
    let Some(target) = &args.target else {
        return list(args.json).map(|()| true);
    };
    let mut report = report(args, target)?;
    report.findings.retain(|finding| !args.skip.iter().any(|id| id == finding.rule.id));
    for note in &report.notes {
        log::info(note);
    }
    let text: String = match args.json {
        true => {
            let findings: Vec<_> = report.findings.iter().map(|finding| finding.to_json()).collect();
            format!("{:#}\n", serde_json::Value::from(findings))
        }
        false => report.findings.iter().map(|finding| format!("{finding}\n")).collect(),
    };
    cli::print(&text)?;
    Ok(!report.findings.iter().any(|finding| args.strict || finding.is_error()))
}

fn report(args: &Args, target: &Path) -> Result<LintReport> {
    if target.is_dir() {
        return lint::check(&Subject::Source(&Source::open(target)?));
    }
    let text = target.to_str().ok_or_else(|| Error::usage(format!("{target:?} is not UTF-8")))?;
    if target.exists() || text.starts_with(['.', '/']) {
        // What is no directory cannot be opened as one, and the kernel says why.
        std::fs::read_dir(target).context(|| format!("cannot check {text}"))?;
    }
    remote::check_reference(text, &args.root, args.repo.as_deref(), &args.access)
}

fn list(json: bool) -> Result<()> {
    if json {
        let rules = RULES.iter().map(|rule| {
            let severity = rule.severity.as_str();
            serde_json::json!({"rule": rule.id, "severity": severity, "explanation": rule.explanation})
        });
        return cli::print(&format!("{:#}\n", serde_json::Value::from(rules.collect::<Vec<_>>())));
    }
    let rules = RULES.iter().map(|rule| {
        let severity = rule.severity.as_str();
        format!("{} ({severity})\n    {}\n", rule.id, rule.explanation)
    });
    cli::print(&rules.collect::<Vec<_>>().join("\n"))
}

fn main() -> ExitCode {
    let mut is_good = true;
    let status = cli::main(&PROGRAM, parse, |args| {
        is_good = run(&args)?;
        Ok(())
    });
    // The findings are all that there is to say.
    if is_good { status } else { ExitCode::FAILURE }
}
