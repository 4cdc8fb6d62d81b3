//! Directories of layers without a member of their own in the archive. If a lower layer has them, they keep its owner and
//! mode; therefore the commit of each layer has their paths.
//!
//! Paths may be long, and an image may have many layers, or one many times. So nobody keeps them: a merge reads those
//! of one layer after the other.

use std::collections::BTreeSet;

use ostree::glib::{Variant, VariantDict};

use super::limits;
use crate::error::{Context, Error, Result};

/// Our key in the metadata of a layer's commit.
const KEY: &str = "syscontainers.implicit-directories";

/// Records the paths in the metadata of a layer's commit.
pub fn record(metadata: &VariantDict, paths: BTreeSet<String>) {
    metadata.insert(KEY, paths.into_iter().collect::<Vec<_>>());
}

/// Reads the paths of one layer after the other, as far as all of them together are within the limit.
#[derive(Default)]
pub struct Reader {
    length: usize,
}

impl Reader {
    /// The paths of a layer, by its commit.
    pub fn read(&mut self, repo: &ostree::Repo, commit: &str) -> Result<BTreeSet<String>> {
        let (variant, _) = repo.load_commit(commit).context(|| "cannot read it".into())?;
        let metadata = VariantDict::new(Some(&variant.child_value(0)));
        let Some(paths) = metadata.lookup_value(KEY, None) else { return Ok(BTreeSet::new()) };
        // Before they are in memory one by one. A layer that an image has twice is read twice, and counts twice.
        self.count(&paths)?;
        Ok(paths.get::<Vec<String>>().unwrap_or_default().into_iter().collect())
    }

    fn count(&mut self, paths: &Variant) -> Result<()> {
        self.length = self.length.saturating_add(paths.size());
        if self.length > limits::IMPLICIT_OF_IMAGE {
            let limit = limits::IMPLICIT_OF_IMAGE >> 20;
            return Err(Error::new(format!(
                "the paths of directories that have no entries of their own are more than {limit} MiB in all layers"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a layer's commit has of so many directories.
    fn paths(directories: usize) -> Variant {
        let metadata = VariantDict::new(None);
        record(&metadata, (0..directories).map(|n| format!("/{n:0>199}")).collect());
        metadata.lookup_value(KEY, None).unwrap()
    }

    #[test]
    fn all_layers_have_one_limit_however_often_each_is_there() {
        let (paths, mut reader) = (paths(5000), Reader::default());
        let size = paths.size();
        assert!(size > 1_000_000, "{size}");
        let counted = (0..500).take_while(|_| reader.count(&paths).is_ok()).count();
        assert_eq!(counted, limits::IMPLICIT_OF_IMAGE / size);
        let error = reader.count(&paths).unwrap_err().to_string();
        assert!(error.contains("more than 64 MiB in all layers"), "{error}");
    }
}
