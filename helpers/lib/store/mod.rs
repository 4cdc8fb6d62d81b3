//! The image store: an OSTree repository with layers, and the merged tree of each image.
//!
//! Only the modules here use libostree. Refs have the names that containers/image's ostree transport gives them, so
//! that layers which Project Atomic's programs pulled are found: `ociimage/<hex digest>` is a layer, `ociimage/<encoded
//! name>` an image. The commit of an image is ours: it holds the merged tree, with manifest and configuration in its
//! metadata.

pub mod access;
mod adopt;
mod archive;
mod archive_file;
mod attributes;
mod blob;
mod builder;
pub mod catalog;
mod checkout;
mod commit;
pub mod comparison;
mod contents;
mod dirtree;
mod docker_archive;
mod engine;
mod expected;
mod failure;
mod host;
mod image;
mod implicit;
pub mod integrity;
mod layer;
mod layout_archive;
pub mod leftovers;
mod limits;
mod links;
pub mod location;
mod lookup;
pub mod mending;
mod merge;
mod mtime;
mod on_disk;
pub mod outcome;
pub mod pace;
mod policy;
pub mod progress;
pub mod prune;
pub mod pull;
pub mod reference;
mod refs;
mod replaced;
mod repository;
pub mod restoring;
pub mod retry;
mod size;
mod skopeo;
mod source;
pub mod source_files;
mod space;
mod staging;
mod stream;

pub use contents::Stored;
pub use repository::Store;
