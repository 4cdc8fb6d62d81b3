//! Where volumes are mounted in each other.
//!
//! The runtime mounts them inside its own root, in order, and follows what the payload has put in the outer one. That
//! leads nowhere on the host, but could put a volume over another part of the container, such as /proc, or have the
//! runtime make directories in the image's files. So what is in the outer volume may only lead to places in it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::container::volume::Volume;
use crate::error::{Context, Error, Result};
use crate::system::directory::{Directory, Links};
use crate::system::files;

/// Where no volume may be: programs believe what they read there, and runtimes use the devices that they find there.
const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];

/// The places of volumes in the image's files, without symlinks. Fails if one is where none may be.
pub fn resolve<'a>(volumes: &'a [Volume], rootfs: &Path) -> Result<BTreeMap<PathBuf, &'a Volume>> {
    let mut places = BTreeMap::new();
    let kernel = KERNEL.map(|path| Ok((path, files::resolve_inside(rootfs, path.as_ref())?)));
    let kernel = kernel.into_iter().collect::<Result<Vec<_>>>()?;
    for volume in volumes {
        let shown = &volume.destination;
        let place = files::resolve_inside(rootfs, &volume.destination)?;
        if let Some(path) = KERNEL.iter().find(|path| place.starts_with(path)) {
            return Err(Error::new(format!(
                "its volume {shown:?} would be in {path}, which is the kernel's"
            )));
        }
        if place == Path::new("/") {
            return Err(Error::new(format!("its volume {shown:?} would be its whole root file system")));
        }
        // They may be links in the image, and what is above them is theirs, too.
        let is_meant = |at: &Path| place.starts_with(at) || at.starts_with(&place);
        if let Some((path, link)) = kernel.iter().find(|(_, at)| is_meant(at)) {
            let link = link.display();
            return Err(Error::new(format!(
                "its volume {shown:?} would be where its link {path} leads, {link}, which is the kernel's"
            )));
        }
        places.insert(place, volume);
    }
    Ok(places)
}

/// Fails if the place of a volume in another one is not in that any more. `home` has the directories of all.
pub fn check(home: &Directory, places: &BTreeMap<PathBuf, &Volume>) -> Result<()> {
    for (place, inner) in places {
        let outer = place.ancestors().skip(1).find_map(|above| Some((above, places.get(above)?)));
        let Some((above, outer)) = outer else { continue };
        let (name, below) = (outer.file_name(), place.strip_prefix(above).unwrap_or(place));
        let outer_directory = home.child(name.as_ref());
        let opened = outer_directory.and_then(|directory| directory.directory(below, Links::Below));
        match opened {
            // The runtime makes what is missing.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            opened => {
                opened
                    .context(|| {
                        let path = home.path_of(name.as_ref());
                        format!(
                            "{} in {} leads elsewhere, or is no directory",
                            below.display(),
                            path.display()
                        )
                    })
                    .context(|| {
                        let (inner, outer) = (inner.destination.display(), outer.destination.display());
                        format!("cannot mount volume {inner} in volume {outer}")
                    })?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn volumes(destinations: &[&str]) -> Vec<Volume> {
        destinations.iter().map(|path| Volume { destination: path.into(), owner: None }).collect()
    }

    #[test]
    fn links_of_the_image_lead_to_no_place_of_the_kernels() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/", dir.path().join("l")).unwrap();
        symlink("../../proc", dir.path().join("p")).unwrap();
        symlink("/dev", dir.path().join("d")).unwrap();
        for bad in [
            "/proc",
            "/proc/sys",
            "/l/proc/self",
            "/p/x",
            "/l",
            "/l/l",
            "/dev",
            "/d",
            "/d/shm",
            "/l/sys",
            "/sys/fs/cgroup",
        ] {
            let error = resolve(&volumes(&[bad]), dir.path()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("its volume {bad:?} would be ")), "{error}");
        }
        let good = volumes(&["/l/data", "/process", "/system/fs"]);
        let places = resolve(&good, dir.path()).unwrap();
        assert_eq!(
            places.keys().map(|place| place.to_str().unwrap()).collect::<Vec<_>>(),
            ["/data", "/process", "/system/fs"]
        );
    }

    #[test]
    fn places_of_the_kernels_may_be_links_of_the_image() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/x/dev", dir.path().join("dev")).unwrap();
        for bad in ["/x", "/x/dev", "/x/dev/shm"] {
            let error = resolve(&volumes(&[bad]), dir.path()).unwrap_err().to_string();
            let expected = format!(
                "its volume {bad:?} would be where its link /dev leads, /x/dev, which is the kernel's"
            );
            assert_eq!(error, expected);
        }
        assert!(resolve(&volumes(&["/x/deva", "/y"]), dir.path()).is_ok());
    }

    #[test]
    fn what_a_payload_makes_of_the_way_leads_only_inside() {
        let dir = tempfile::tempdir().unwrap();
        let (rootfs, home) = (dir.path().join("rootfs"), dir.path().join("home"));
        fs::create_dir_all(&rootfs).unwrap();
        symlink("/a", rootfs.join("l")).unwrap();
        for (link, is_good) in [
            ("near", true),
            ("none", true),
            ("/", false),
            ("/proc", false),
            ("../..", false),
            ("b", false),
            ("file", false),
        ] {
            let _ = fs::remove_dir_all(&home);
            fs::create_dir_all(home.join("a/near/etc")).unwrap();
            fs::write(home.join("a/file"), "").unwrap();
            symlink(link, home.join("a/b")).unwrap();
            let home = Directory::open(&home).unwrap();
            for inner in ["/a/b/etc", "/l/b/etc"] {
                let volumes = volumes(&["/a", inner]);
                let checked = check(&home, &resolve(&volumes, &rootfs).unwrap());
                assert_eq!(checked.is_ok(), is_good, "{link}: {checked:?}");
                if let Err(e) = checked {
                    let expected = format!("cannot mount volume {inner} in volume /a: b/etc in ");
                    assert!(e.to_string().starts_with(&expected), "{e}");
                }
            }
        }
    }
}
