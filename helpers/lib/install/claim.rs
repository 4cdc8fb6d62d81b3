//! Names that containers may have: those that no other unit and no other tmpfiles.d(5) file has.

use std::fs;
use std::path::Path;

use crate::container::{derived, units};
use crate::error::{Error, Result};
use crate::name::Name;
use crate::paths::{GENERATED, Root, STUBS, TMPFILES_PATH, TreePath, UNIT_PATH};

/// What the name of a container is to be used for.
pub struct Claim {
    /// Whether the container has a unit.
    pub unit: bool,
    /// Whether the container may take the place of another unit of that name, unless that one has precedence.
    pub replace_unit: bool,
    /// Whether the container has a tmpfiles.d(5) file.
    pub tmpfiles: bool,
    /// Whether the container is installed.
    pub is_installed: bool,
    /// Whether a mask of its unit is meant for it, and not for another unit of that name: it is installed, or declared.
    pub may_be_masked: bool,
}

/// Refuses a name that other units or tmpfiles already have.
pub fn check_name(root: &Root, name: &Name, claim: &Claim) -> Result<()> {
    if claim.unit {
        check_units(root, name, claim)?;
        check_template(root, name, claim)?;
    }
    if claim.tmpfiles {
        check_tmpfiles(root, name)?;
    }
    Ok(())
}

fn check_units(root: &Root, name: &Name, claim: &Claim) -> Result<()> {
    let generated = ["/run/systemd/generator.early", GENERATED, "/run/systemd/generator.late"];
    let ours = UNIT_PATH.iter().position(|directory| *directory == STUBS);
    for directory in UNIT_PATH.iter().chain(&generated) {
        let shown = TreePath::from(*directory).join(name.unit());
        let path = root.join(&shown);
        if !path.exists() && !path.is_symlink() || derived::is_stub(&path, name).unwrap_or(false) {
            continue;
        }
        // What the generator says of a container that is declared, and not installed yet.
        if *directory == GENERATED
            && derived::has_line(&path, &format!("# {}", units::HEADER)).unwrap_or(false)
        {
            continue;
        }
        if claim.may_be_masked && is_mask(&path) {
            continue;
        }
        // Units in directories before system.attached keep their precedence, whatever we write.
        let position = UNIT_PATH.iter().position(|other| other == directory);
        if is_mask(&path) {
            return Err(Error::new(format!(
                "cannot install {name}: {shown} is masked, and may hide another unit of that name; run 'systemctl unmask {name}', or choose another name with --name"
            )));
        }
        if position.is_some() && position < ours {
            return Err(Error::new(format!(
                "cannot install {name}: {shown} is a unit of that name and would win; remove it, or choose another name with --name"
            )));
        }
        if !claim.replace_unit {
            return Err(Error::new(format!(
                "cannot install {name}: {shown} is a unit of that name; choose another name with --name, or put the container in its place with --replace-unit"
            )));
        }
    }
    Ok(())
}

/// Refuses the name of an instance of another unit's template, which systemd would no longer use for it.
fn check_template(root: &Root, name: &Name, claim: &Claim) -> Result<()> {
    let Some(template) = name.template_unit().filter(|_| !claim.is_installed && !claim.replace_unit) else {
        return Ok(());
    };
    let mut paths = UNIT_PATH.iter().map(|directory| TreePath::from(*directory).join(&template));
    match paths.find(|path| root.join(path).symlink_metadata().is_ok()) {
        None => Ok(()),
        Some(path) => Err(Error::new(format!(
            "cannot install {name}: {path} is the template of a unit of that name; choose another name with --name, or put the container in its place with --replace-unit"
        ))),
    }
}

/// Whether `systemctl mask` keeps the unit of a container from being started.
pub fn is_masked(root: &Root, name: &Name) -> bool {
    let before = UNIT_PATH.iter().take_while(|directory| **directory != STUBS);
    before.into_iter().any(|directory| is_mask(&root.join(&TreePath::from(*directory).join(name.unit()))))
}

/// Whether a unit file is a mask: empty, or a link to /dev/null.
fn is_mask(path: &Path) -> bool {
    match fs::read_link(path) {
        Ok(target) => target == Path::new("/dev/null"),
        Err(_) => path.metadata().is_ok_and(|file| file.is_file() && file.len() == 0),
    }
}

fn check_tmpfiles(root: &Root, name: &Name) -> Result<()> {
    for directory in TMPFILES_PATH {
        let shown = TreePath::from(directory).join(format!("{name}.conf"));
        let path = root.join(&shown);
        if path.exists() && !derived::is_tmpfiles(&path, name)? {
            return Err(Error::new(format!(
                "cannot install {name}: {shown} belongs to something else; choose another name with --name"
            )));
        }
    }
    Ok(())
}
