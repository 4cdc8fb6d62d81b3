//! Limits of images, far above what real ones have. Whoever makes an image, and whoever serves it, can only take so much
//! time, memory and space. What the manifest says is checked before anything is fetched; syscontainer-pull(8) lists all
//! of them, under "Limits".

/// Layers of an image.
pub const LAYERS: usize = 500;
/// Size in bytes of a manifest, and of a configuration.
pub const DOCUMENT: u64 = 4 << 20;
/// Files and directories of a layer, including directories that have no entry of their own.
pub const ENTRIES_OF_LAYER: u64 = 1_000_000;
/// Files and directories in one directory of a layer, which is in memory as a whole.
pub const ENTRIES_OF_DIRECTORY: u32 = 250_000;
/// Files and directories of all layers of an image.
pub const ENTRIES: u64 = 4_000_000;
/// Length of a path in bytes; it is shorter, as with the kernel.
pub const PATH: usize = 4096;
/// Length of a name in a path in bytes, the same as the kernel's.
pub const NAME: usize = 255;
/// Names in a path.
pub const DEPTH: usize = 512;
/// Size in bytes of the names and values of a file's extended attributes, the same as the kernel's.
pub const XATTRS: usize = 64 << 10;
/// Size in bytes of a name or a set of PAX records in an archive.
pub const EXTENSION: u64 = 1 << 20;
/// Length in bytes of all paths of a layer's directories that have no entry of their own.
pub const IMPLICIT: usize = 16 << 20;
/// The same for all layers of an image, as it is in their commits. A layer counts as often as the image has it.
pub const IMPLICIT_OF_IMAGE: usize = 64 << 20;
/// Size in bytes that any layer's archive may have, unpacked.
pub const UNPACKED: u64 = 2 << 30;
/// How many times as large as its blob a layer's archive may be, if that is more than [`UNPACKED`].
pub const RATIO: u64 = 100;

/// Maximum size in bytes of the archive in a blob.
pub fn unpacked(blob: u64) -> u64 {
    blob.saturating_mul(RATIO).max(UNPACKED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_them() {
        let page = include_str!("../../syscontainer-pull.8").replace('\\', "");
        let section = page.split(".SS Limits").nth(1).unwrap().split("\n.S").next().unwrap();
        let text = section.split_whitespace().collect::<Vec<_>>().join(" ");
        for limit in [
            format!("{LAYERS} layers"),
            format!("{} MiB for the manifest", DOCUMENT >> 20),
            format!("{},000,000 files and directories in a layer", ENTRIES_OF_LAYER / 1_000_000),
            format!("{},000 in a directory", ENTRIES_OF_DIRECTORY / 1000),
            format!("{},000,000 in all layers", ENTRIES / 1_000_000),
            format!("{} bytes in a path", PATH - 1),
            format!("{NAME} bytes in a name"),
            format!("{DEPTH} names in a path"),
            format!("{} KiB of extended attributes", XATTRS >> 10),
            format!("{} MiB for a name or a set of PAX records", EXTENSION >> 20),
            format!("{} MiB for the paths of directories", IMPLICIT >> 20),
            format!("{} MiB for those of all layers", IMPLICIT_OF_IMAGE >> 20),
            format!("{} GiB", UNPACKED >> 30),
            format!("{RATIO} times"),
        ] {
            assert!(text.contains(&limit), "{limit}: {text}");
        }
    }

    #[test]
    fn archives_may_be_as_large_as_packing_makes_likely() {
        assert_eq!(unpacked(0), UNPACKED);
        assert_eq!(unpacked(1 << 30), RATIO << 30);
        assert_eq!(unpacked(u64::MAX), u64::MAX);
    }
}
