//! What is checked: a directory with the sources of an image, or an image in a store.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::image::Image;
use crate::image::exports::{CONFIG, CONFIG_TEMPLATE, SERVICE_TEMPLATE, TMPFILES_TEMPLATE};
use crate::image::layout::HOSTFS;
use crate::image::manifest;
use crate::image::tree::{ExportsDirectory, Tree};
use crate::name::Name;
use crate::store::Store;

/// What an installation looks for, below the image's root.
pub const FILES: [&str; 6] =
    [CONFIG, CONFIG_TEMPLATE, SERVICE_TEMPLATE, TMPFILES_TEMPLATE, manifest::FILE, HOSTFS];
const DOCKERFILES: [&str; 2] = ["Dockerfile", "Containerfile"];

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// As it is called in findings.
    pub file: String,
    /// Its content.
    pub text: String,
}

/// A directory with the sources of an image.
pub struct Source {
    directory: PathBuf,
    /// Its files for /exports, below the directory: `exports`, or the directory itself.
    below: &'static str,
    dockerfile: Option<Text>,
}

impl Source {
    /// Looks what there is.
    pub fn open(directory: &Path) -> Result<Source> {
        let what = || format!("cannot check {}", directory.display());
        fs::read_dir(directory).context(what)?;
        let has = |below: &str| FILES.iter().any(|file| directory.join(below).join(plain(file)).exists());
        let below = if has("exports") { "exports" } else { "" };
        let mut dockerfile = None;
        for name in DOCKERFILES {
            let path = directory.join(name);
            if dockerfile.is_none() && path.is_file() {
                let content = fs::read(&path).context(what)?;
                let text = String::from_utf8_lossy(&content).into_owned();
                dockerfile = Some(Text { file: path.display().to_string(), text });
            }
        }
        if dockerfile.is_none() && !has(below) {
            let why = "there is no Dockerfile, no Containerfile, and no file for /exports in it";
            return Err(Error::new(why)).context(what);
        }
        Ok(Source { directory: directory.to_path_buf(), below, dockerfile })
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the files for /exports are.
    pub fn exports(&self) -> PathBuf {
        match self.below {
            "" => self.directory.clone(),
            below => self.directory.join(below),
        }
    }

    /// How it says that the image is made.
    pub fn dockerfile(&self) -> Option<&Text> {
        self.dockerfile.as_ref()
    }

    /// Those of [`FILES`] that are there, by their paths below the directory.
    pub fn files(&self) -> Vec<String> {
        let names = FILES.iter().map(|file| plain(file)).filter(|name| self.exports().join(name).exists());
        names.map(|name| Path::new(self.below).join(name).to_string_lossy().into_owned()).collect()
    }
}

/// The name below /exports.
fn plain(file: &str) -> &str {
    file.strip_prefix("exports/").unwrap_or(file)
}

/// What is checked.
pub enum Subject<'a> {
    /// The sources of an image.
    Source(&'a Source),
    /// An image in a store.
    Image(&'a Store, &'a Image),
}

impl Subject<'_> {
    /// The sources, if it is these.
    pub fn source(&self) -> Option<&Source> {
        match self {
            Subject::Source(source) => Some(source),
            Subject::Image(..) => None,
        }
    }

    /// The image, if it is one.
    pub fn image(&self) -> Option<&Image> {
        match self {
            Subject::Source(_) => None,
            Subject::Image(_, image) => Some(image),
        }
    }

    /// How the image is made, where that is known.
    pub fn dockerfile(&self) -> Option<&Text> {
        self.source().and_then(Source::dockerfile)
    }

    /// The files of the image, as far as they are there.
    pub fn tree(&self) -> Box<dyn Tree + '_> {
        match self {
            Subject::Source(source) => Box::new(ExportsDirectory(source.exports())),
            Subject::Image(store, image) => Box::new(store.tree(image)),
        }
    }

    /// A file of the image, as it is called in findings.
    pub fn shown(&self, file: &str) -> String {
        match self {
            Subject::Source(source) => source.exports().join(plain(file)).display().to_string(),
            Subject::Image(..) => file.to_owned(),
        }
    }

    /// What its container may be called.
    pub fn name(&self) -> Result<Name> {
        let name = match self {
            Subject::Source(source) => source.directory.canonicalize().unwrap_or_default(),
            Subject::Image(_, image) => PathBuf::from(
                image
                    .name
                    .rsplit('/')
                    .next()
                    .and_then(|base| base.split([':', '@']).next())
                    .unwrap_or_default(),
            ),
        };
        let name = name.file_name().unwrap_or_default().to_string_lossy().parse::<Name>();
        name.or_else(|_| "container".parse())
    }
}
