//! Whether the command of a payload is in its image, as execve(2) wants it: a program, or a script of one, that may be run.
//!
//! Mounts in a container may provide anything, so paths that lead there are not checked.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::image::lookup::{Found, Lookup};
use crate::image::tree::{Executable, Tree};
use crate::oci::config::Normalised;

/// How many interpreters of interpreters the kernel runs.
const DEPTH: usize = 4;
/// How much of a script the kernel looks at, BINPRM_BUF_SIZE.
const FIRST_LINE: usize = 256;

/// Why the command of a configuration cannot be run, as a clause about the image; `None` if it can, or may.
pub fn fault(tree: &dyn Tree, config: &Normalised) -> Result<Option<String>> {
    let Some(command) = config.arguments().next() else { return Ok(None) };
    let mounts = config.mounts().filter_map(|mount| mount.destination());
    let directory = config.working_directory().unwrap_or("/");
    let search = Search {
        tree,
        lookup: Lookup::new(tree, mounts)?,
        directory: Path::new("/").join(directory),
        path: config.environment().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default(),
    };
    Ok(search.command(command, DEPTH)?.map(|why| format!("its command {} {}", shown(command), why.text())))
}

/// How a program is found.
struct Search<'a> {
    tree: &'a dyn Tree,
    lookup: Lookup<'a>,
    /// The working directory.
    directory: PathBuf,
    /// The variable PATH.
    path: &'a str,
}

/// Why a program cannot be run.
enum Fault {
    /// What is wrong with it, after its name.
    Itself(String),
    /// What is wrong with the program that it needs, of this name.
    Interpreter(String, Box<Fault>),
}

impl Fault {
    fn of(text: impl Into<String>) -> Option<Fault> {
        Some(Fault::Itself(text.into()))
    }

    /// A clause without its subject.
    fn text(&self) -> String {
        match self {
            Fault::Itself(what) => what.clone(),
            Fault::Interpreter(name, why) => format!("needs {}, which {}", shown(name), why.text()),
        }
    }
}

fn shown(name: &str) -> String {
    if name.is_empty() { "\"\"".into() } else { name.escape_debug().to_string() }
}

impl Search<'_> {
    /// What is wrong with a command: a path, or a name that is looked for as execvp(3) does.
    fn command(&self, command: &str, depth: usize) -> Result<Option<Fault>> {
        if command.contains('/') {
            return self.file(&self.directory.join(command), depth);
        }
        if command.is_empty() {
            return Ok(Fault::of("is not the name of a program"));
        }
        let mut first = None;
        for directory in self.path.split(':') {
            let path = self.directory.join(directory).join(command);
            match self.lookup.find(&path)? {
                Found::Missing | Found::Other(_) | Found::Directory => {}
                Found::Mounted => return Ok(None),
                Found::File(file) => match self.tree.executable(&file.to_string_lossy())? {
                    Some(found) if !found.may_be_run() => first = first.or(Fault::of("is not executable")),
                    _ => return self.file(&path, depth),
                },
            }
        }
        Ok(first.or_else(|| Fault::of(format!("is not in any directory of its PATH, {:?}", self.path))))
    }

    /// What is wrong with the program at an absolute path.
    fn file(&self, path: &Path, depth: usize) -> Result<Option<Fault>> {
        let file = match self.lookup.find(path)? {
            Found::Mounted => return Ok(None),
            Found::Missing => return Ok(Fault::of("is not in it")),
            Found::Directory => return Ok(Fault::of("is a directory")),
            Found::Other(_) => return Ok(Fault::of("is not a regular file")),
            Found::File(file) => file,
        };
        let Some(found) = self.tree.executable(&file.to_string_lossy())? else { return Ok(None) };
        if !found.may_be_run() {
            return Ok(Fault::of("is not executable"));
        }
        match interpreter(&found.start) {
            Some(Interpreter::CarriageReturn) => {
                Ok(Fault::of("has a first line that ends in CR LF, and so no interpreter; save it with LF"))
            }
            Some(Interpreter::Program(path, argument)) if depth > 0 => {
                self.interpreter(&path, &argument, depth)
            }
            _ => Ok(None),
        }
    }

    fn interpreter(&self, path: &str, argument: &str, depth: usize) -> Result<Option<Fault>> {
        let needs = |name: &str, why: Option<Fault>| {
            why.map(|why| Fault::Interpreter(name.to_owned(), Box::new(why)))
        };
        let why = self.file(&self.directory.join(path), depth - 1)?;
        let is_search = path.ends_with("/env") && !argument.is_empty() && !argument.contains(['=', '-', ' ']);
        match why {
            None if is_search => Ok(needs(argument, self.command(argument, depth - 1)?)),
            why => Ok(needs(path, why)),
        }
    }
}

impl Executable {
    /// Whether anybody may run it. Who may not, is denied by its mode.
    fn may_be_run(&self) -> bool {
        self.mode & 0o111 != 0
    }
}

/// What the kernel runs to run a file.
#[derive(Debug, PartialEq, Eq)]
enum Interpreter {
    /// A program, with one argument or an empty one.
    Program(String, String),
    /// What the line names ends in CR.
    CarriageReturn,
}

/// What a file needs that begins so; `None` if it needs nothing, or that is unknown.
fn interpreter(start: &[u8]) -> Option<Interpreter> {
    let Some(script) = start.strip_prefix(b"#!") else {
        return loader(start).map(|path| Interpreter::Program(path, String::new()));
    };
    let line = script[..script.len().min(FIRST_LINE - 2)].split(|byte| *byte == b'\n').next()?;
    if line.ends_with(b"\r") {
        return Some(Interpreter::CarriageReturn);
    }
    let line = String::from_utf8_lossy(line);
    let line: Cow<str> = line.trim_matches([' ', '\t']).into();
    let (path, argument) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
    (!path.is_empty()).then(|| Interpreter::Program(path.to_owned(), argument.trim().to_owned()))
}

/// The dynamic loader that a program names, PT_INTERP, see elf(5); `None` if there is none, or not at the start.
fn loader(start: &[u8]) -> Option<String> {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, size: usize| -> Option<u64> {
        let bytes = start.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    // Class and byte order: 64 or 32 bits, little-endian.
    let is_64 = match start.get(..6)? {
        b"\x7fELF\x02\x01" => true,
        b"\x7fELF\x01\x01" => false,
        _ => return None,
    };
    let (table, entry, count) = if is_64 {
        (number(32, 8)?, number(54, 2)?, number(56, 2)?)
    } else {
        (number(28, 4)?, number(42, 2)?, number(44, 2)?)
    };
    let headers = (0..count).map_while(|index| usize::try_from(table.checked_add(index * entry)?).ok());
    let header = headers.take_while(|at| *at < start.len()).find(|at| number(*at, 4) == Some(PT_INTERP))?;
    let (offset, length) = if is_64 {
        (number(header + 8, 8)?, number(header + 32, 8)?)
    } else {
        (number(header + 4, 4)?, number(header + 16, 4)?)
    };
    let (offset, length) = (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
    let path = start.get(offset..offset.checked_add(length)?)?.strip_suffix(b"\0")?;
    String::from_utf8(path.to_vec()).ok().filter(|path| path.starts_with('/'))
}

#[cfg(test)]
mod tests;
