//! Writes the units of installed containers, see systemd.generator(7).
//!
//! Reads registrations and declarations below /run, /etc and /usr, and nothing below /var, which is not mounted yet at
//! boot. One that cannot be converted becomes a unit that reports this, and does not affect the others.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use syscontainers::container::registration::{self, Registration};
use syscontainers::container::{broken, derived, stale, units};
use syscontainers::declaration::choices::Pull;
use syscontainers::declaration::files::{Listed, Source};
use syscontainers::declaration::{Declaration, files, image, units as declared};
use syscontainers::digest::Digest;
use syscontainers::error::{Context, Error, Result};
use syscontainers::name::Name;
use syscontainers::paths::{
    DECLARATIONS, DECLARED_DROP_IN, DEPLOYMENTS, GENERATED, REGISTRATIONS, Root, STORAGE_DROP_IN, TreePath,
    UNIT_PATH, UNITDIR,
};
use syscontainers::program::cli::{self, Completes, Opt, Program};
use syscontainers::program::log;
use syscontainers::program::options::prelude::*;
use syscontainers::system::tree;

const PROGRAM: Program = Program {
    name: "syscontainer-generator",
    synopsis: &["[--root=DIR] NORMAL [EARLY LATE]", "--dry-run [--root=DIR] [NAME]"],
    about: "Writes the units of all containers that are installed or declared to the directory NORMAL. systemd runs \
            it at boot and whenever it reloads its units.",
    options: &[
        Opt::flag(
            "dry-run",
            "print what would be written for the container NAME, or for all containers, and every problem; \
             the exit status is 1 if there is one",
        )
        .operands(Completes::Container),
        Opt::root("read the registrations and declarations of the tree below DIR"),
    ],
    operands: Completes::Directory,
    statuses: &[0, 1, 2],
};

struct Args {
    root: Root,
    output: Output,
    /// The only container to write units for, if given.
    only: Option<Name>,
}

/// Where units are written to.
enum Output {
    /// The directory NORMAL.
    Directory(PathBuf),
    /// Standard output, with the path above each unit.
    Print,
}

fn parse(arguments: Vec<Argument>) -> Result<Args, lexopt::Error> {
    let (mut root, mut dry_run, mut values) = (Root::default(), false, Vec::new());
    for argument in arguments {
        match argument {
            Valued("root", value) => root = tree::open(value)?,
            Flag("dry-run") => dry_run = true,
            Operand(value) => values.push(value),
            other => return Err(other.unexpected()),
        }
    }
    if dry_run {
        if values.len() > 1 {
            return Err("expected at most one NAME".into());
        }
        let only = values.pop().map(|name| name.parse()).transpose()?;
        return Ok(Args { root, output: Output::Print, only });
    }
    if !matches!(values.len(), 1 | 3) {
        return Err(format!("expected one or three directories, not {}", values.len()).into());
    }
    let output = Output::Directory(values.swap_remove(0).into());
    Ok(Args { root, output, only: None })
}

fn run(args: Args) -> Result<()> {
    let is = |key, value| std::env::var_os(key).is_some_and(|v| v == value);
    if is("SYSTEMD_SCOPE", "user") || is("SYSTEMD_IN_INITRD", "1") {
        return Ok(());
    }
    let (mut registrations, mut errors) = registration::list(&args.root);
    let Listed { found: mut declarations, odd, unreadable } = files::list(&args.root);
    errors.extend(odd.into_iter().chain(unreadable));
    if let Some(only) = &args.only {
        registrations.retain(|name, _| name == only);
        declarations.retain(|name, _| name == only);
        if registrations.is_empty() && declarations.is_empty() {
            let directories = [REGISTRATIONS, DECLARATIONS].concat().join(", ");
            errors.push(Error::new(format!(
                "there is no registration or declaration of {only} in {directories}"
            )));
        }
    }
    let mut failed = !errors.is_empty();
    errors.iter().for_each(|e| log::warning(&e.to_string()));
    let mut tell = |e: Error| {
        log::warning(&e.to_string());
        failed = true;
    };
    // Their deployments are gone, with a /var that was reset: they are as good as never installed.
    let is_gone = |name: &Name| stale::read(&args.root, name).is_some_and(|note| note.gone);
    let is_lost = |name: &Name| declarations.contains_key(name) && is_gone(name);
    registrations.retain(|name, _| !is_lost(name));
    let mut installed = BTreeMap::new();
    for (name, path) in in_order(&args.root, &registrations) {
        match generate(&args, name, path) {
            Ok(Some(container)) => drop(installed.insert(name, container)),
            Ok(None) => {}
            Err(e) => tell(e),
        }
    }
    wait_for_storage(&args, installed.values()).unwrap_or_else(&mut tell);
    for (name, source) in &declarations {
        let result = match (registrations.contains_key(name), installed.get(name)) {
            (true, Some(container)) => adjust(&args, name, source, container),
            // What is masked or broken stays as it is.
            (true, None) => Ok(()),
            (false, _) => announce(&args, name, source),
        };
        result.unwrap_or_else(&mut tell);
    }
    if failed { Err(Error::new("cannot generate all units, see the messages above")) } else { Ok(()) }
}

/// Registrations in the order in which they are converted: large ones come last, since systemd ends a generator that
/// takes too long, and then has what was written until then.
fn in_order<'a>(
    root: &Root,
    registrations: &'a BTreeMap<Name, TreePath>,
) -> impl Iterator<Item = (&'a Name, &'a TreePath)> + use<'a> {
    let mut sized: Vec<_> =
        registrations.iter().map(|(name, path)| (registration::size(root, path) >> 16, name, path)).collect();
    sized.sort_by_key(|(size, name, _)| (*size, *name));
    sized.into_iter().map(|(_, name, path)| (name, path))
}

/// Where systemd finds the unit of a container.
enum Fragment {
    /// The stub.
    Ours,
    /// A unit that is not ours, which is left alone.
    Foreign(TreePath),
    /// There is none: the stub was lost.
    None,
}

/// A container whose registration was converted.
struct Installed {
    /// Name of its image in the store.
    image: String,
    /// Digest of the declaration that was applied last.
    declared: Option<Digest>,
    /// The image's unit, if there is a service.
    unit: Option<String>,
    /// Whether it came with the operating system.
    is_preinstalled: bool,
    /// Where symlinks lead to that the default directory of deployments is behind, if it is.
    storage: Option<TreePath>,
}

impl Installed {
    fn of(registration: &Registration) -> Installed {
        let Registration { image, declared, unit, .. } = registration;
        let is_default = registration.directory.as_path() == Path::new(DEPLOYMENTS);
        let storage = registration.resolved_directory().filter(|_| is_default);
        Installed {
            image: image.clone(),
            declared: declared.clone(),
            unit: unit.clone(),
            is_preinstalled: registration.is_preinstalled(),
            storage: storage.cloned(),
        }
    }
}

/// Has reconciliation wait for the file systems that the directory of deployments is on, if a symlink leads to it.
fn wait_for_storage<'a>(args: &Args, installed: impl Iterator<Item = &'a Installed>) -> Result<()> {
    let paths: BTreeSet<&TreePath> = installed.filter_map(|container| container.storage.as_ref()).collect();
    if paths.is_empty() {
        return Ok(());
    }
    let paths: Vec<&TreePath> = paths.into_iter().collect();
    args.output.write(&drop_in(units::RECONCILE, STORAGE_DROP_IN), &units::storage(&paths)?)
}

fn generate(args: &Args, name: &Name, path: &TreePath) -> Result<Option<Installed>> {
    let registration = match registration::read(&args.root, name, path) {
        // Masked.
        Ok(None) => return Ok(None),
        Ok(Some(registration)) if registration.unit.is_none() => {
            return Ok(Some(Installed::of(&registration)));
        }
        Ok(Some(registration)) => match stale::read(&args.root, name) {
            Some(note) if note.gone => Err(Error::new(note.why)),
            note => Ok((registration, note)),
        },
        Err(e) => Err(e),
    };
    let what = || format!("cannot generate {}", name.unit());
    let lost = match find_fragment(&args.root, name).context(what)? {
        Fragment::Ours => false,
        Fragment::None => true,
        Fragment::Foreign(unit) => {
            let why = format!("{unit} belongs to something else, skipping {path}");
            return Err(Error::new(why)).context(what);
        }
    };
    let converted = registration.and_then(|(registration, note)| {
        let units = convert(&registration, path, lost)?;
        // The start judges again: by then, its storage may be there.
        if let Some(note) = note {
            args.output.write(&drop_in(&name.unit(), STORAGE_DROP_IN), &broken::absent(name, &note.why)?)?;
        }
        Ok((units, Installed::of(&registration)))
    });
    let (stub, body, result) = match converted {
        Ok(((stub, body), installed)) => (stub, body, Ok(Some(installed))),
        Err(e) => (lost.then(|| broken::bare_stub(name)), broken::body(name, path, &e.to_string())?, Err(e)),
    };
    if let Some(stub) = stub {
        args.output.write(Path::new(&name.unit()), &stub)?;
    }
    args.output.write(&derived::body(name), &body)?;
    result.context(what)
}

/// The stub, if it was lost, and the body.
fn convert(registration: &Registration, path: &TreePath, lost: bool) -> Result<(Option<String>, String)> {
    let origin = || path.to_string();
    let stub = lost.then(|| units::stub(registration)).transpose().context(origin)?;
    Ok((stub, units::compose(registration, path).context(origin)?))
}

/// Adds what a declaration says to the unit of a container that is installed, and has what has changed applied. What was
/// applied already costs nothing, unless it is looked for a newer image at every boot.
fn adjust(args: &Args, name: &Name, source: &Source, container: &Installed) -> Result<()> {
    let declaration = read(args, name, source)
        .context(|| format!("cannot apply the declaration of {name}, which stays as it is"))?;
    let what = || format!("cannot generate {}", name.unit());
    let is_changed = container.declared.as_ref() != Some(&declaration.digest());
    // Another image may take long to come, and the container runs without it.
    let is_here = image::is_same(&declaration.choices.image, &container.image)
        && declaration.choices.pull != Pull::Always;
    if let Some(unit) = &container.unit {
        // What came with the operating system runs without a store, which other values may have to be pulled to.
        let waits =
            is_changed && is_here && !container.is_preinstalled && !declared::is_early(unit, &declaration);
        if let Some(text) = declared::drop_in(&declaration, waits).context(what)? {
            args.output.write(&drop_in(&name.unit(), DECLARED_DROP_IN), &text)?;
        }
    }
    if is_changed || declaration.choices.pull == Pull::Always {
        want(args, &declaration, !is_here).context(what)?;
    }
    Ok(())
}

/// Writes the placeholder of a container that is not installed, and has it installed.
fn announce(args: &Args, name: &Name, source: &Source) -> Result<()> {
    let what = || format!("cannot generate {}", name.unit());
    let unit = match find_fragment(&args.root, name).context(what)? {
        Fragment::None => PathBuf::from(name.unit()),
        // Its registration or its deployment was lost.
        Fragment::Ours => derived::body(name),
        Fragment::Foreign(unit) => {
            let why = format!("{unit} belongs to something else, skipping {}", source.path);
            return Err(Error::new(why)).context(what);
        }
    };
    match read(args, name, source) {
        Ok(declaration) => {
            args.output.write(&unit, &declared::placeholder(&declaration).context(what)?)?;
            want(args, &declaration, true).context(what)
        }
        Err(e) => {
            args.output.write(&unit, &broken::body(name, &source.path, &e.to_string())?)?;
            Err(e).context(what)
        }
    }
}

/// Reads a declaration, and tells what is ignored in it.
fn read(args: &Args, name: &Name, source: &Source) -> Result<Declaration> {
    let declaration = files::read(&args.root, name, source)?;
    declaration.warnings.iter().for_each(|text| log::warning(text));
    Ok(declaration)
}

/// Has a declaration applied at boot, with a network if its image has to be pulled over one.
fn want(args: &Args, declaration: &Declaration, pulls: bool) -> Result<()> {
    let name = &declaration.name;
    let link = Path::new("multi-user.target.wants").join(declared::install_unit(name));
    args.output.link(&link, &Path::new(UNITDIR).join(declared::INSTALL_TEMPLATE))?;
    if pulls && declaration.needs_network() {
        args.output.write(&drop_in(&declared::pull_unit(name), DECLARED_DROP_IN), &declared::network()?)?;
    }
    Ok(())
}

fn drop_in(unit: &str, name: &str) -> PathBuf {
    Path::new(&format!("{unit}.d")).join(name)
}

fn find_fragment(root: &Root, name: &Name) -> Result<Fragment> {
    for directory in UNIT_PATH {
        let unit = TreePath::from(directory).join(name.unit());
        match fs::metadata(root.join(&unit)) {
            // Masked by an empty file or a link to /dev/null: then the body has no effect.
            Ok(metadata) if metadata.len() == 0 => return Ok(Fragment::Ours),
            Ok(_) => {
                let ours = derived::is_stub(&root.join(&unit), name)?;
                return Ok(if ours { Fragment::Ours } else { Fragment::Foreign(unit) });
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e).context(|| format!("cannot read {unit}")),
        }
    }
    // Instances of a template that is not ours are not either.
    let template = name.template_unit().and_then(|template| {
        let mut paths = UNIT_PATH.iter().map(|directory| TreePath::from(*directory).join(&template));
        paths.find(|path| root.join(path).symlink_metadata().is_ok())
    });
    Ok(template.map_or(Fragment::None, Fragment::Foreign))
}

impl Output {
    fn write(&self, path: &Path, text: &str) -> Result<()> {
        match self {
            Output::Directory(normal) => write(&normal.join(path), text),
            Output::Print => cli::print(&format!("# {GENERATED}/{}\n{text}\n", path.display())),
        }
    }

    fn link(&self, path: &Path, target: &Path) -> Result<()> {
        match self {
            Output::Directory(normal) => link(&normal.join(path), target),
            Output::Print => {
                cli::print(&format!("# {GENERATED}/{} -> {}\n\n", path.display(), target.display()))
            }
        }
    }
}

/// Makes a symlink. One that exists has another unit started as well, and is left alone.
fn link(path: &Path, target: &Path) -> Result<()> {
    let what = || format!("cannot make the link {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).context(what)?;
    }
    match symlink(target, path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.context(what),
    }
}

/// Writes a file. Other generators write to the same directory, so a file that exists is left alone.
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
