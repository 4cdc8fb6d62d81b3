//! What the programs of this package share. Programs are verbs and stay thin; the modules here are nouns.
//!
//! A folder says what its modules may know of. Each may import its own modules and those of the folders named here, none
//! else, and never in a circle; `tests/structure.rs` reads this table and holds it against every `use`.
//!
//! | folder | what it is about | it may import |
//! |---|---|---|
//! | root | errors, names, digests, paths | |
//! | program | the frame of every program: options, messages, tables | root |
//! | system | this host: files, locks, processes, the journal, systemd | root, program |
//! | oci | the OCI runtime configuration, as text and as it is normalised | root, system::files |
//! | unit | the syntax of unit files, and how values are escaped in them | root |
//! | container | what is known of a container: deployments, registration, units, state | root, program, system, unit |
//! | image | an image, and what its `/exports` become: pure | root, program, oci, unit, container |
//! | host_files | files of the host that containers bring and share | root, program, system, oci, container, image |
//! | run | a start and a stop: bundle, runtime, volumes, scratch | root, program, system, oci, container |
//! | store | the OSTree repository of images, and pulls; all that uses libostree | root, program, system, image::Image, image::tree |
//! | install | from an image to a registered container, and back; recovery | root, program, system, oci, unit, container, image, host_files, run |
//! | update | which deployments there are, and which is current | all of install, install |
//! | prune | what nothing uses goes | all of update, update, store |
//! | list | what there is, as text and JSON | all of update, update, store |
//! | lint | what is wrong with an image before anybody installs it | all of install, install, store |
//!
//! ARCHITECTURE.md says how these work together.

pub mod digest;
pub mod error;
pub mod name;
pub mod paths;

pub mod container;
pub mod host_files;
pub mod image;
pub mod install;
pub mod oci;
pub mod program;
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
