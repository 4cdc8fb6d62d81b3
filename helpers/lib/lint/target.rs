//! What lint checks: a directory with the sources of an image, or an image.

use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::source_tree::{self, ExportsDirectory, explained};
use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::image::exports::{CONFIG, CONFIG_TEMPLATE, SERVICE_TEMPLATE, TMPFILES_TEMPLATE};
use crate::image::layout::HOSTFS;
use crate::image::limits;
use crate::image::manifest;
use crate::image::tree::Tree;
use crate::install::installer;
use crate::name::Name;
use crate::system::directory::{Directory, Links, kind};

/// The files that an installation looks for in an image.
pub const FILES: [&str; 6] =
    [CONFIG, CONFIG_TEMPLATE, SERVICE_TEMPLATE, TMPFILES_TEMPLATE, manifest::FILE, HOSTFS];
const DOCKERFILES: [&str; 2] = ["Dockerfile", "Containerfile"];

/// A Dockerfile or a Containerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// Path, as findings name it.
    pub file: String,
    /// Content.
    pub text: String,
}

/// A directory with the sources of an image.
pub struct Sources {
    path: PathBuf,
    directory: Directory,
    /// Where files for /exports are in the directory: `exports`, or empty for the directory itself.
    below: &'static str,
    dockerfile: Option<Dockerfile>,
    /// Files that cannot be looked at, and why.
    problems: Vec<(String, Error)>,
}

impl Sources {
    /// Looks for a Dockerfile and files for /exports; it is an error if there is neither.
    pub fn open(path: &Path) -> Result<Sources> {
        let what = || format!("cannot check {}", path.display());
        let directory = Directory::open(path).context(what)?;
        let mut sources = Sources {
            path: path.to_path_buf(),
            directory,
            below: "exports",
            dockerfile: None,
            problems: vec![],
        };
        if sources.files().is_empty() {
            sources.below = "";
        }
        let exports = Path::new("exports/.");
        let found = sources.directory.find(exports, Links::OnTheWay);
        if let Err(error) = explained(found, &sources.directory, exports) {
            sources.problems.push((path.join("exports").display().to_string(), error));
        }
        for name in DOCKERFILES {
            let file = path.join(name).display().to_string();
            match source_tree::read(&sources.directory, Path::new(name), limits::TEXT, Links::Below) {
                Ok(Some(content)) => {
                    let text = String::from_utf8_lossy(&content).into_owned();
                    sources.dockerfile = Some(Dockerfile { file, text });
                    break;
                }
                Ok(None) => {}
                Err(error) => sources.problems.push((file, error)),
            }
        }
        if sources.dockerfile.is_none() && sources.problems.is_empty() && sources.files().is_empty() {
            let why = "it contains neither a Dockerfile nor a Containerfile nor a file for /exports";
            return Err(Error::new(why)).context(what);
        }
        Ok(sources)
    }

    /// The path of the directory as it was given, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The path of the directory with the files for /exports, for messages.
    pub fn exports(&self) -> PathBuf {
        match self.below {
            "" => self.path.clone(),
            below => self.path.join(below),
        }
    }

    /// The Dockerfile, if there is one.
    pub fn dockerfile(&self) -> Option<&Dockerfile> {
        self.dockerfile.as_ref()
    }

    /// Files that cannot be looked at, and why.
    pub fn problems(&self) -> &[(String, Error)] {
        &self.problems
    }

    /// Paths below the directory of those [`FILES`] that exist.
    pub fn files(&self) -> Vec<String> {
        let names = FILES.iter().map(|file| Path::new(self.below).join(plain(file)));
        names.map(|name| name.to_string_lossy().into_owned()).filter(|name| self.is_there(name)).collect()
    }

    /// Whether a file is a directory.
    pub fn is_directory(&self, name: &str) -> bool {
        let found = self.directory.find(Path::new(name), Links::OnTheWay);
        found.is_ok_and(|found| found.is_some_and(|found| kind(&found) == FileType::Directory))
    }

    fn is_there(&self, name: &str) -> bool {
        self.directory.find(Path::new(name), Links::OnTheWay).is_ok_and(|found| found.is_some())
    }
}

/// Returns the name below /exports.
fn plain(file: &str) -> &str {
    file.strip_prefix("exports/").unwrap_or(file)
}

/// What lint checks.
pub enum Target<'a> {
    /// The sources of an image.
    Sources(&'a Sources),
    /// An image, with its files.
    Image(&'a dyn Tree, &'a Image),
}

impl Target<'_> {
    /// The sources; `None` for an image.
    pub fn sources(&self) -> Option<&Sources> {
        match self {
            Target::Sources(source) => Some(source),
            Target::Image(..) => None,
        }
    }

    /// The image; `None` for sources.
    pub fn image(&self) -> Option<&Image> {
        match self {
            Target::Sources(_) => None,
            Target::Image(_, image) => Some(image),
        }
    }

    /// The Dockerfile of sources that have one.
    pub fn dockerfile(&self) -> Option<&Dockerfile> {
        self.sources().and_then(Sources::dockerfile)
    }

    /// The files of the image; of sources, those for /exports.
    pub fn tree(&self) -> Box<dyn Tree + '_> {
        match self {
            Target::Sources(source) => {
                Box::new(ExportsDirectory { sources: &source.directory, below: Path::new(source.below) })
            }
            Target::Image(tree, _) => Box::new(*tree),
        }
    }

    /// Returns how findings name a file of the image.
    pub fn shown(&self, file: &str) -> String {
        match self {
            Target::Sources(source) => source.exports().join(plain(file)).display().to_string(),
            Target::Image(..) => file.to_owned(),
        }
    }

    /// Returns the name that its container gets, or one that it could have.
    pub fn name(&self) -> Result<Name> {
        let name = match self {
            Target::Sources(source) => {
                let directory = source.path.canonicalize().unwrap_or_default();
                directory.file_name().unwrap_or_default().to_string_lossy().parse()
            }
            Target::Image(_, image) => installer::default_name(image),
        };
        name.or_else(|_| "container".parse())
    }
}
