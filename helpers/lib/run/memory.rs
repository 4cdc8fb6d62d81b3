//! Directories in memory that begin with what the image has in their place. The runtime copies that; what is known of the
//! directory itself is looked up here, since runtimes differ in it.

use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Context, Result};
use crate::oci::bundle_config::BundleConfig;
use crate::oci::mount::TMPCOPYUP;
use crate::system::directory::{Directory, Links};

/// Gives these file systems the modes and owners of the directories that they are mounted on. Where there is none, they
/// stay as they are configured.
pub fn settle(config: &mut BundleConfig, rootfs: &Path) -> Result<()> {
    let image = Directory::open(rootfs).context(|| format!("cannot open {}", rootfs.display()))?;
    for mount in config.mounts_mut()? {
        let Some(destination) = mount["destination"].as_str().map(str::to_owned) else { continue };
        let Some(options) = mount.get_mut("options").and_then(Value::as_array_mut) else { continue };
        if !options.iter().any(|option| option == TMPCOPYUP) {
            continue;
        }
        let found = image.find_directory(destination.as_ref(), Links::Inside);
        let what = || format!("cannot examine {destination} in the image");
        let Some(directory) = found.context(what)? else { continue };
        let stat = directory.stat().context(what)?;
        options.retain(|option| !option.as_str().is_some_and(|option| option.starts_with("mode=")));
        let mode = format!("mode={:o}", stat.st_mode & 0o7777);
        let owner = [format!("uid={}", stat.st_uid), format!("gid={}", stat.st_gid)];
        options.extend([mode].into_iter().chain(owner).map(|option| json!(option)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn they_are_like_the_directories_of_the_image() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        fs::set_permissions(dir.path().join("real"), fs::Permissions::from_mode(0o2751)).unwrap();
        symlink("/real", dir.path().join("run")).unwrap();
        let mount = |destination: &str, copies: &str| json!({"destination": destination, "type": "tmpfs", "options": [copies, "mode=755", "size=1m"]});
        let mounts = [mount("/run", TMPCOPYUP), mount("/tmp", TMPCOPYUP), mount("/real", "nodev")];
        let mut config = BundleConfig::of(json!({"mounts": mounts}));
        settle(&mut config, dir.path()).unwrap();
        // The first one is of /dev.
        let mounts = &config.value()["mounts"];
        let own = fs::metadata(dir.path()).unwrap();
        let owner = [format!("uid={}", own.uid()), format!("gid={}", own.gid())];
        let expected = json!([TMPCOPYUP, "size=1m", "mode=2751", owner[0], owner[1]]);
        assert_eq!(mounts[1]["options"], expected);
        assert_eq!(mounts[2], mount("/tmp", TMPCOPYUP));
        assert_eq!(mounts[3], mount("/real", "nodev"));
    }
}
