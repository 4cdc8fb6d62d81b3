//! Writes the units of installed containers, systemd.generator(7).
//!
//! Reads registrations below /run, /etc and /usr, and never looks below /var: at boot it is not mounted yet. A registration
//! that cannot be converted becomes a unit that says so, and is no reason to leave out another.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use syscontainers::body;
use syscontainers::cli::{self, Command, Program};
use syscontainers::error::{Context, Error, Result};
use syscontainers::installation;
use syscontainers::log;
use syscontainers::name::Name;
use syscontainers::paths::{Root, UNIT_PATH};
use syscontainers::registration::{self, Registration};

const PROGRAM: Program = Program {
    name: "syscontainer-generator",
    usage: "\
Usage: syscontainer-generator [--root=DIR] NORMAL [EARLY LATE]

Writes the units of all installed containers to the directory NORMAL.
systemd calls it at boot and at every daemon-reload; see syscontainer-generator(8).

  --root=DIR     read the registrations of the tree below DIR
  -h, --help     show this help
  --version      show the version
",
};

struct Args {
    root: Root,
    normal: PathBuf,
}

fn parse(parser: &mut lexopt::Parser) -> Result<Command<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let (mut root, mut directories) = (Root::default(), Vec::new());
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("version") => return Ok(Command::Version),
            Long("root") => root = Root::new(parser.value()?),
            Value(value) => directories.push(PathBuf::from(value)),
            _ => return Err(arg.unexpected()),
        }
    }
    if !matches!(directories.len(), 1 | 3) {
        return Err(format!("expected one or three directories, not {}", directories.len()).into());
    }
    Ok(Command::Run(Args { root, normal: directories.swap_remove(0) }))
}

fn run(args: Args) -> Result<()> {
    let is = |key, value| std::env::var_os(key).is_some_and(|v| v == value);
    if is("SYSTEMD_SCOPE", "user") || is("SYSTEMD_IN_INITRD", "1") {
        return Ok(());
    }
    let (registrations, errors) = registration::list(&args.root);
    let mut failed = !errors.is_empty();
    errors.iter().for_each(|e| log::warning(&e.to_string()));
    for (name, path) in &registrations {
        if let Err(e) = generate(&args, name, path) {
            log::warning(&e.to_string());
            failed = true;
        }
    }
    if failed { Err(Error::new("cannot generate all units, see the messages above")) } else { Ok(()) }
}

/// Where systemd finds the unit of a container.
enum Fragment {
    /// The stub.
    Ours,
    /// Someone else's unit: it stays as it is.
    Foreign(PathBuf),
    /// Nowhere: the stub was lost.
    None,
}

fn generate(args: &Args, name: &Name, path: &Path) -> Result<()> {
    let registration = match registration::read(&args.root, name, path) {
        // Masked.
        Ok(None) => return Ok(()),
        Ok(Some(registration)) => Ok(registration),
        Err(e) => Err(e),
    };
    let what = || format!("cannot generate {}", name.unit());
    let lost = match find_fragment(&args.root, name).context(what)? {
        Fragment::Ours => false,
        Fragment::None => true,
        Fragment::Foreign(unit) => {
            let why = format!("{} is another's, skipping {}", unit.display(), path.display());
            return Err(Error::new(why)).context(what);
        }
    };
    let converted = registration.and_then(|registration| convert(&registration, path, lost));
    let (stub, body, result) = match converted {
        Ok((stub, body)) => (stub, body, Ok(())),
        Err(e) => (lost.then(|| body::bare_stub(name)), body::broken(name, path, &e.to_string())?, Err(e)),
    };
    if let Some(stub) = stub {
        write(&args.normal.join(name.unit()), &stub)?;
    }
    write(&args.normal.join(body::path(name)), &body)?;
    result.context(what)
}

/// The stub, if it was lost, and the body.
fn convert(registration: &Registration, path: &Path, lost: bool) -> Result<(Option<String>, String)> {
    let origin = || path.display().to_string();
    let stub = lost.then(|| body::stub(registration)).transpose().context(origin)?;
    Ok((stub, body::compose(registration, path).context(origin)?))
}

fn find_fragment(root: &Root, name: &Name) -> Result<Fragment> {
    for directory in UNIT_PATH {
        let unit = Path::new(directory).join(name.unit());
        match fs::metadata(root.join(&unit)) {
            // Masked, by an empty file or a link to /dev/null: the body changes nothing then.
            Ok(metadata) if metadata.len() == 0 => return Ok(Fragment::Ours),
            Ok(_) => {
                let ours = installation::is_stub(&root.join(&unit), name)?;
                return Ok(if ours { Fragment::Ours } else { Fragment::Foreign(unit) });
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e).context(|| format!("cannot read {}", unit.display())),
        }
    }
    Ok(Fragment::None)
}

/// Other generators write to the same directory: what is there is theirs.
fn write(path: &Path, text: &str) -> Result<()> {
    let what = || format!("cannot write {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).context(what)?;
    }
    let mut file = match File::create_new(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            return Err(Error::new("another generator wrote it, leaving it as it is")).context(what);
        }
        file => file.context(what)?,
    };
    file.write_all(text.as_bytes()).context(what)
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
