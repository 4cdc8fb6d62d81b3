//! Installs an image from the store as a container: deployment, registration, unit.
//!
//! The service is not started. If this is killed at any point, the same command completes the installation.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use syscontainers::container::standing;
use syscontainers::container::state::State;
use syscontainers::error::{Context, Error, Result};
use syscontainers::image::Image;
use syscontainers::image::variables;
use syscontainers::install::acceptance::Wish;
use syscontainers::install::installer::{Installer, default_name};
use syscontainers::install::plan::{Options, Planner};
use syscontainers::install::preinstall::Preinstaller;
use syscontainers::install::previous::Previous;
use syscontainers::install::site::Site;
use syscontainers::install::value_file;
use syscontainers::name::Name;
use syscontainers::paths::Root;
use syscontainers::program::cli::{self, Completes, Opt, Program};
use syscontainers::program::log;
use syscontainers::program::options::prelude::*;
use syscontainers::store::Store;
use syscontainers::system::lock::{self, Lock};
use syscontainers::system::tree;
use syscontainers::update::switcher::{Recovery, Switcher};
use syscontainers::update::updater::Updater;

const PROGRAM: Program = Program {
    name: "syscontainer-checkout",
    synopsis: &["[OPTION...] IMAGE", "--update [OPTION...] NAME", "--preinstall [OPTION...] IMAGE"],
    about: "Installs IMAGE, which syscontainer-pull has pulled, as a systemd service. The service is enabled \
            as the image says, but not started.\n\n\
            With --update, makes a new deployment of the container NAME, from what has been pulled since, or with \
            other values, and makes it current; the service is not restarted. With --stage, syscontainer-switch \
            makes it current later.\n\n\
            With --preinstall, makes the container part of the operating system, in /usr.",
    options: &[
        Opt::flag("update", "update the container NAME").operands(Completes::Container),
        Opt::valued("name", "NAME", "name the container NAME instead of after its image"),
        Opt::valued("set", "VARIABLE=VALUE", "set a variable of the image's templates; may be repeated"),
        Opt::valued(
            "set-file",
            "VARIABLE=PATH",
            "set a variable to what is in a file, or with '-' on standard input; may be repeated",
        )
        .completes(Completes::File),
        Opt::valued(
            "secret",
            "VARIABLE",
            "keep the value of a variable from other users of the host; may be repeated",
        ),
        Opt::valued("option", "KEY=VALUE", "set an option of the container; may be repeated").short('o'),
        Opt::valued("runtime", "PATH", "use this OCI runtime, crun or runc").completes(Completes::File),
        Opt::valued("notify", "WHAT", "how the payload notifies systemd: no, ready or full")
            .completes(Completes::Words(&["no", "ready", "full"])),
        Opt::valued("rootfs", "DIR", "use the files in DIR instead of checking out the image")
            .completes(Completes::Directory),
        Opt::valued("unset", "VARIABLE", "with --update: reset a variable to its default; may be repeated"),
        Opt::valued("rebase", "IMAGE", "with --update: use IMAGE from now on").completes(Completes::Image),
        Opt::flag("plain", "ignore what the image has in /exports, and in its labels, now and in updates"),
        Opt::flag("accept-exports", "with --update: accept /exports for a container that had none"),
        Opt::flag("stage", "with --update: make the deployment, but do not make it current"),
        Opt::flag("force", "with --stage: make it even if the image failed before with these values"),
        Opt::flag("preinstall", "make the container part of the operating system"),
        Opt::flag("dry-run", "print everything that would be written and done, but change nothing"),
        Opt::flag("no-enable", "do not enable the service"),
        Opt::flag("replace-unit", "install even if there is another unit of this name, and take its place"),
        Opt::root("install to the tree below DIR"),
        Opt::repo("use the image store in DIR"),
    ],
    operands: Completes::Image,
    statuses: &[0, 1, 2, 3, 6],
};

struct Args {
    action: Action,
    root: Root,
    repo: Option<PathBuf>,
    dry_run: bool,
    options: Options,
    /// Variables whose values are in files.
    files: Vec<(String, PathBuf)>,
}

enum Action {
    Install { image: String, name: Option<Name> },
    Preinstall { image: String, name: Option<Name> },
    Update { name: Name, rebase: Option<String>, how: How },
}

/// How an update becomes current.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    AtOnce,
    Staged { force: bool },
}

fn parse(arguments: Vec<Argument>) -> Result<Args, lexopt::Error> {
    let (mut root, mut repo, mut dry_run, mut options) = (Root::default(), None, false, Options::default());
    let (mut update, mut name, mut rebase, mut operand) = (false, None, None, None);
    let (mut stage, mut force, mut preinstall) = (false, false, false);
    let mut files = Vec::new();
    for argument in arguments {
        match argument {
            Flag("update") => update = true,
            Valued("name", value) => name = Some(value.parse()?),
            Valued("rebase", value) => rebase = Some(value.string()?),
            Valued("set", value) => {
                let (name, value) = value.parse_with(variables::parse_assignment)?;
                options.user_values.insert(name, value);
            }
            Valued("set-file", value) => {
                let (name, path) = value.parse_with(variables::parse_assignment)?;
                files.push((name, PathBuf::from(path)));
            }
            Valued("secret", value) => options.user_secrets.extend([value.string()?]),
            Valued("option", value) => options.settings.push(parse_unshown(value)?),
            Valued("unset", value) => options.unset.extend([value.string()?]),
            Valued("runtime", value) => options.runtime = Some(value.into()),
            Valued("notify", value) => options.notify = Some(value.parse()?),
            Valued("rootfs", value) => options.rootfs = Some(value.into()),
            Flag("plain") => wish(&mut options, Wish::Ignore)?,
            Flag("accept-exports") => wish(&mut options, Wish::Accept)?,
            Flag("stage") => stage = true,
            Flag("force") => force = true,
            Flag("preinstall") => preinstall = true,
            Flag("dry-run") => dry_run = true,
            Flag("no-enable") => options.no_enable = true,
            Flag("replace-unit") => options.replace_unit = true,
            Valued("root", value) => root = tree::open(value)?,
            Valued("repo", value) => repo = Some(value.into()),
            Operand(value) if operand.is_none() => operand = Some(value.string()?),
            other => return Err(other.unexpected()),
        }
    }
    if (stage && !update) || (force && !stage) {
        return Err("--stage requires --update, and --force requires --stage".into());
    }
    options.rebase = rebase.is_some();
    if preinstall && (update || dry_run || options.replace_unit || options.rootfs.is_some()) {
        return Err(
            "--update, --dry-run, --replace-unit and --rootfs cannot be combined with --preinstall".into()
        );
    }
    let action = if update {
        if name.is_some() || options.no_enable {
            return Err("--name and --no-enable cannot be combined with --update".into());
        }
        let name = operand.ok_or("missing NAME")?.parse().map_err(|e: Error| e.to_string())?;
        Action::Update { name, rebase, how: if stage { How::Staged { force } } else { How::AtOnce } }
    } else {
        check_installation(&options)?;
        let image = operand.ok_or("missing IMAGE")?;
        if preinstall { Action::Preinstall { image, name } } else { Action::Install { image, name } }
    };
    check_files(&files, &options)?;
    Ok(Args { action, root, repo, dry_run, options, files })
}

/// Refuses what only an update may have.
fn check_installation(options: &Options) -> Result<(), lexopt::Error> {
    if options.rebase || !options.unset.is_empty() {
        return Err("--rebase and --unset require --update".into());
    }
    if options.exports == Wish::Accept {
        return Err("--accept-exports requires --update; an installation needs no acceptance".into());
    }
    Ok(())
}

/// Notes what is wished of /exports, which is one thing.
fn wish(options: &mut Options, wish: Wish) -> Result<(), lexopt::Error> {
    if ![Wish::AsBefore, wish].contains(&options.exports) {
        return Err("--plain and --accept-exports cannot be combined".into());
    }
    options.exports = wish;
    Ok(())
}

/// Refuses values that are given twice, and two of which would come from standard input.
fn check_files(files: &[(String, PathBuf)], options: &Options) -> Result<(), lexopt::Error> {
    let mut names: BTreeSet<&str> = options.user_values.keys().map(String::as_str).collect();
    if let Some((name, _)) = files.iter().find(|(name, _)| !names.insert(name)) {
        return Err(format!("{name} is set twice, by --set or --set-file").into());
    }
    let from_input = files.iter().filter(|(_, path)| path.as_path() == Path::new("-"));
    if from_input.count() > 1 {
        return Err("only one --set-file can read standard input".into());
    }
    Ok(())
}

fn run(mut args: Args) -> Result<()> {
    for (name, path) in &args.files {
        args.options.user_values.insert(name.clone(), value_file::read(name, path)?);
    }
    let name = match &args.action {
        Action::Install { image, name } => install(&args, image, name.as_ref())?,
        Action::Preinstall { image, name } => preinstall(&args, image, name.as_ref())?,
        Action::Update { name, rebase, how } => update(&args, name, rebase.as_deref(), *how)?,
    };
    // A dry run has printed its output already.
    if args.dry_run { Ok(()) } else { cli::print(&format!("{name}\n")) }
}

/// The name that was given, or else that of the image.
fn name_of(args: &Args, store: &Store, image: &str, name: Option<&Name>) -> Result<Name> {
    if let Some(name) = name {
        return Ok(name.clone());
    }
    let _lock = store.lock_shared()?;
    default_name(&find(args, store, image)?)
}

fn preinstall(args: &Args, image: &str, name: Option<&Name>) -> Result<Name> {
    let store = open_store(args, image)?;
    let name = name_of(args, &store, image, name)?;
    let site = Site::preinstalled(&args.root);
    let _container = lock::container(site.root(), &name)?;
    let _lock = store.lock_shared()?;
    let image = find(args, &store, image)?;
    let tree = store.copied_tree(&image);
    let (tree, image, options) = (&tree, &image, &args.options);
    let planner = Planner { site: &site, tree, image, name: &name, options, previous: None };
    Preinstaller { planner }.install()?;
    Ok(name)
}

fn install(args: &Args, image: &str, name: Option<&Name>) -> Result<Name> {
    let store = open_store(args, image)?;
    let name = name_of(args, &store, image, name)?;
    let site = Site::new(&args.root);
    let what = || format!("cannot install {name}");
    let _locks = if args.dry_run { None } else { Some(prepare(&site, &name).context(what)?) };
    let _lock = store.lock_shared()?;
    let image = find(args, &store, image)?;
    let tree = store.tree(&image);
    let planner = Planner {
        site: &site,
        tree: &tree,
        image: &image,
        name: &name,
        options: &args.options,
        previous: None,
    };
    let installer = Installer { planner };
    if args.dry_run {
        cli::print(&installer.preview()?)?;
        return Ok(name);
    }
    match site.deployments.current(&name)? {
        Some(deployment) => installer.finish_again(&deployment)?,
        None => installer.install()?,
    }
    Ok(name)
}

fn update(args: &Args, name: &Name, rebase: Option<&str>, how: How) -> Result<Name> {
    try_update(args, name, rebase, how).context(|| format!("cannot update {name}"))?;
    Ok(name.clone())
}

fn try_update(args: &Args, name: &Name, rebase: Option<&str>, how: How) -> Result<()> {
    let site = Site::new(&args.root);
    let deployments = &site.deployments;
    let _locks = if args.dry_run { None } else { Some(prepare(&site, name)?) };
    let current = deployments.installed(name)?;
    let info = deployments.info(&current)?;
    let wanted = State::load(deployments, name)?.wanted(deployments, &info);
    let image = rebase.unwrap_or(&wanted.image);
    let store = open_store(args, image)?;
    let _lock = store.lock_shared()?;
    let image = find(args, &store, image)?;
    let tree = store.tree(&image);
    let previous = Previous::read(&site, &current, &tree)?;
    let planner = Planner {
        site: &site,
        tree: &tree,
        image: &image,
        name,
        options: &args.options,
        previous: Some(&previous),
    };
    let updater = Updater { planner, previous: &previous };
    match how {
        How::AtOnce if args.dry_run => cli::print(&updater.preview()?),
        How::AtOnce => updater.update(),
        How::Staged { force } if args.dry_run => cli::print(&updater.preview_stage(force)?),
        How::Staged { force } => updater.stage(force),
    }
}

/// Opens the store. For an image that Atomic pulled into the host's repository, one is made, but not by a dry run.
fn open_store(args: &Args, image: &str) -> Result<Store> {
    let (root, repo) = (&args.root, args.repo.as_deref());
    if args.dry_run { Store::open(root, repo) } else { Store::open_for(root, repo, image) }
}

/// Finds an image. A dry run does not even adopt one that Atomic pulled.
fn find(args: &Args, store: &Store, image: &str) -> Result<Image> {
    if args.dry_run { store.find(image) } else { store.find_or_adopt(image) }
}

/// Takes the locks that changing a container requires, and recovers it.
fn prepare(site: &Site, name: &Name) -> Result<(Lock, Lock)> {
    // Before anything is made in a directory that is not the right one.
    standing::check(&site.deployments, name)?;
    site.deployments.create()?;
    let container = lock::container(site.root(), name)?;
    if let Recovery::Reverted(why) = (Switcher { site, name }).recover()? {
        log::warning(&why);
    }
    Ok((container, lock::host_files(site.root())?))
}

fn main() -> ExitCode {
    cli::main(&PROGRAM, parse, run)
}
