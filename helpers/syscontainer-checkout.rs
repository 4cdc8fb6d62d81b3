//! Installs an image of the store as a container: deployment, registration, unit.
//!
//! It does not start the service. Killed at any point, the same command again completes it.

use std::path::PathBuf;
use std::process::ExitCode;

use syscontainers::cli::{self, Command, Program};
use syscontainers::deployment::Deployments;
use syscontainers::error::{Context, Result};
use syscontainers::installer::{Installer, Options};
use syscontainers::lock;
use syscontainers::name::Name;
use syscontainers::paths::Root;
use syscontainers::recovery;
use syscontainers::store::{Image, Store};
use syscontainers::systemd;
use syscontainers::variables;

const PROGRAM: Program = Program {
    name: "syscontainer-checkout",
    usage: "\
Usage: syscontainer-checkout [OPTION...] IMAGE

Installs IMAGE, which syscontainer-pull has pulled, as a systemd service. The service
is enabled as the image says, but not started; see syscontainer-checkout(8).

  --name=NAME      call the container NAME, not as the image
  --set NAME=VALUE set a variable of the image's templates; may be repeated
  --runtime=PATH   use this OCI runtime, crun or runc
  --rootfs=DIR     use the files in DIR, not a checkout of the image
  --dry-run        print all that would be written and done, and do nothing
  --no-enable      do not enable the service
  --replace-unit   install even if another unit has this name, in its place
  --root=DIR       install to the tree below DIR
  --repo=DIR       use the image store in DIR
  -h, --help       show this help
  --version        show the version
",
};

struct Args {
    image: String,
    name: Option<Name>,
    root: Root,
    repo: Option<PathBuf>,
    dry_run: bool,
    options: Options,
}

fn parse(parser: &mut lexopt::Parser) -> Result<Command<Args>, lexopt::Error> {
    use lexopt::prelude::*;
    let mut image = None;
    let mut args = Args {
        image: String::new(),
        name: None,
        root: Root::default(),
        repo: None,
        dry_run: false,
        options: Options::default(),
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help),
            Long("version") => return Ok(Command::Version),
            Long("name") => args.name = Some(parser.value()?.parse()?),
            Long("set") => {
                let (name, value) = parser.value()?.parse_with(variables::parse_assignment)?;
                args.options.user_values.insert(name, value);
            }
            Long("runtime") => args.options.runtime = Some(parser.value()?.into()),
            Long("rootfs") => args.options.rootfs = Some(parser.value()?.into()),
            Long("dry-run") => args.dry_run = true,
            Long("no-enable") => args.options.no_enable = true,
            Long("replace-unit") => args.options.replace_unit = true,
            Long("root") => args.root = Root::new(parser.value()?),
            Long("repo") => args.repo = Some(parser.value()?.into()),
            Value(value) if image.is_none() => image = Some(value.string()?),
            _ => return Err(arg.unexpected()),
        }
    }
    args.image = image.ok_or("missing IMAGE")?;
    Ok(Command::Run(args))
}

fn run(args: Args) -> Result<()> {
    let store = Store::open(&args.root, args.repo.as_deref())?;
    let image = store.find(&args.image)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => default_name(&image)?,
    };
    let deployments = Deployments::new(&args.root);
    let installer = Installer {
        deployments: &deployments,
        store: &store,
        image: &image,
        name: &name,
        options: &args.options,
    };
    if args.dry_run {
        return cli::print(&installer.preview()?);
    }
    deployments.create()?;
    let _lock = lock::container(&args.root, &name)?;
    if recovery::recover(&deployments, &name)?.changed {
        systemd::reload(&args.root)?;
    }
    match deployments.current(&name)? {
        Some(deployment) => installer.finish_again(&deployment)?,
        None => installer.install()?,
    }
    cli::print(&format!("{name}\n"))
}

/// The last part of the image's name, with the tag unless that is `latest`. What would be the name of a deployment, as
/// `etcd-3.5` would, gets dashes in its tag.
fn default_name(image: &Image) -> Result<Name> {
    let base = image.name.rsplit('/').next().unwrap_or_default();
    let base = base.split('@').next().unwrap_or_default();
    let (base, tag) = base.split_once(':').unwrap_or((base, "latest"));
    if tag == "latest" {
        return base.parse().context(|| unnamed(image));
    }
    let name: Result<Name> = format!("{base}-{tag}").parse();
    name.or_else(|_| format!("{base}-{}", tag.replace('.', "-")).parse()).context(|| unnamed(image))
}

fn unnamed(image: &Image) -> String {
    format!("cannot name a container after image {}, use --name=NAME", image.name)
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
