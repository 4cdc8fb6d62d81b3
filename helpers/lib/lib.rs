//! The code that the programs of this package share. Programs are verbs and stay thin; the modules here are nouns.
//!
//! Folders are layers. The modules of a folder may import each other and those of the folders listed here, no others,
//! and never in a circle; `tests/structure.rs` checks every `use` against this table.
//!
//! | folder | what it is about | it may import |
//! |---|---|---|
//! | root | errors, names, digests, commits, paths, where images come from, signals, counts of steps | |
//! | program | the frame of every program: options, messages, tables, the syntax of operands | root |
//! | system | this host: files, locks, processes, the journal, systemd | root, program |
//! | oci | the OCI runtime configuration: parsing and normalising it | root, system::files |
//! | unit | the syntax of unit files and of tmpfiles, and how values are escaped in them | root |
//! | container | what is known about a container: deployments, registration, units, state | root, program, system, unit, oci::capabilities |
//! | declaration | what is to be installed, as an administrator or a package says it | root, program, system, unit, container |
//! | quadlet | podman's files of containers, and the declarations that do the same | root, program, system::files, unit, container |
//! | image | an image, and rendering its `/exports`: no side effects | root, program, system::directory, oci, unit, container |
//! | host_files | files of the host that containers bring and share | root, program, system, oci, container, image |
//! | run | starting and stopping: bundle, runtime, volumes, scratch | root, program, system, oci, container |
//! | store | the OSTree repository of images, and pulls; everything that uses libostree | root, program, system, image::Image, image::tree, image::limits, image::platform |
//! | install | from an image to a registered container, and back; recovery | root, program, system, oci, unit, container, image, host_files, run |
//! | update | making deployments, switching between them, and which ones are kept | all of install, install |
//! | prune | removing what is not used | all of update, update, store |
//! | verify | comparing what is installed, and the store, with checksums, and mending them | all of update, update, store |
//! | apply | making the host what its declarations say | all of update, update, store, declaration |
//! | list | showing containers and images, as text and JSON | all of update, update, store, declaration, apply |
//! | lint | finding mistakes in an image, or in sources that are not trusted, before it is installed | all of install, install, store, declaration |
//!
//! ARCHITECTURE.md says how these work together.

pub mod commit;
pub mod digest;
pub mod error;
pub mod name;
pub mod paths;
pub mod provenance;
pub mod signal;
mod steps;

#[cfg(feature = "store")]
pub mod apply;
pub mod container;
pub mod declaration;
pub mod host_files;
pub mod image;
pub mod install;
pub mod oci;
pub mod program;
pub mod quadlet;
pub mod run;
pub mod system;
pub mod unit;
pub mod update;

#[cfg(feature = "store")]
pub mod lint;
#[cfg(feature = "store")]
pub mod list;
#[cfg(feature = "store")]
pub mod prune;
#[cfg(feature = "store")]
pub mod store;
#[cfg(feature = "store")]
pub mod verify;
