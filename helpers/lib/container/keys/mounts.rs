//! `Volume=`, `Tmpfs=` and `Mount=`: what an administrator mounts in a container, with the options of podman-run(1).

use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::paths;

/// File systems of the kernel, in which nothing is mounted.
const KERNEL: [&str; 2] = ["/proc", "/sys"];
/// What runtimes make in `/dev` themselves.
const OWN_DEVICES: [&str; 14] = [
    "console", "fd", "full", "mqueue", "notify", "null", "ptmx", "pts", "random", "stderr", "stdin",
    "stdout", "tty", "urandom",
];

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserMountKind {
    /// A file or a directory of the host.
    Bind(PathBuf),
    /// Memory.
    Tmpfs,
    /// A directory of the container's own, like the volumes that an image declares.
    Volume,
}

/// A mount that an administrator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserMount {
    pub kind: UserMountKind,
    /// Its path in the container: absolute, without `..`, and not `/`.
    pub destination: PathBuf,
    /// Options as in a runtime configuration.
    pub options: Vec<String>,
}

/// Parses `[HOST-PATH:]CONTAINER-PATH[:OPTIONS]`.
pub fn volume(text: &str) -> Result<UserMount> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        [destination] => Ok(UserMount {
            kind: UserMountKind::Volume,
            destination: place(destination)?,
            options: Vec::new(),
        }),
        [host, destination] => bind(host, destination, ""),
        [host, destination, options] => bind(host, destination, options),
        _ => Err(Error::new("expected [HOST-PATH:]CONTAINER-PATH[:OPTIONS]")),
    }
}

fn bind(host: &str, destination: &str, options: &str) -> Result<UserMount> {
    let options = options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
    let options = bind_options(options, "rbind")?;
    Ok(UserMount { kind: UserMountKind::Bind(source(host)?), destination: place(destination)?, options })
}

fn source(host: &str) -> Result<PathBuf> {
    if !host.is_empty() && !host.contains('/') && !host.starts_with('.') {
        return Err(Error::new(format!(
            "named volumes such as {host:?} are not supported; give the path of a directory of the host, or CONTAINER-PATH alone for one of the container's own"
        )));
    }
    path(host)
}

/// Parses `CONTAINER-PATH[:OPTIONS]`.
pub fn tmpfs(text: &str) -> Result<UserMount> {
    let (destination, options) = text.split_once(':').unwrap_or((text, ""));
    let options = options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
    let (destination, options) = (place(destination)?, tmpfs_options(options)?);
    Ok(UserMount { kind: UserMountKind::Tmpfs, destination, options })
}

/// Parses `type=TYPE,KEY=VALUE,…`.
pub fn mount(text: &str) -> Result<UserMount> {
    let (mut kind, mut host, mut destination, mut recursive) = ("volume", None, None, "rbind");
    let mut options: Vec<String> = Vec::new();
    for part in text.split(',') {
        let (key, value) = part.split_once('=').map_or((part, None), |(key, value)| (key, Some(value)));
        let needed = || value.ok_or_else(|| Error::new(format!("{key} needs a value")));
        match key {
            "type" => kind = needed()?,
            "source" | "src" => host = Some(needed()?),
            "destination" | "dst" | "target" => destination = Some(needed()?),
            "ro" | "readonly" => options.push(if is_true(key, value)? { "ro" } else { "rw" }.into()),
            "rw" => options.push(if is_true(key, value)? { "rw" } else { "ro" }.into()),
            "bind-nonrecursive" if is_true(key, value)? => recursive = "bind",
            "bind-nonrecursive" => {}
            "bind-propagation" => options.push(needed()?.to_owned()),
            "tmpfs-size" => options.push(format!("size={}", needed()?)),
            "tmpfs-mode" => options.push(format!("mode={}", needed()?)),
            "relabel" => return Err(relabelled()),
            _ => options.push(part.to_owned()),
        }
    }
    let destination = place(destination.ok_or_else(|| Error::new("the destination is missing"))?)?;
    let (kind, options) = match (kind, host) {
        ("bind", Some(host)) => (UserMountKind::Bind(path(host)?), bind_options(options, recursive)?),
        ("bind", None) => return Err(Error::new("the source is missing")),
        ("tmpfs", None) => (UserMountKind::Tmpfs, tmpfs_options(options)?),
        ("tmpfs", Some(_)) => return Err(Error::new("a tmpfs has no source")),
        ("volume", None) if options.is_empty() => (UserMountKind::Volume, options),
        ("volume", None) => return Err(Error::new("a volume of the container's own has no options")),
        ("volume", Some(host)) => {
            return Err(Error::new(format!(
                "named volumes such as {host:?} are not supported; use type=bind with a path of the host, or no source"
            )));
        }
        (kind, _) => {
            return Err(Error::new(format!("unknown type {kind:?}: expected bind, tmpfs or volume")));
        }
    };
    Ok(UserMount { kind, destination, options })
}

fn is_true(key: &str, value: Option<&str>) -> Result<bool> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(value) => Err(Error::new(format!("{key}={value} is neither true nor false"))),
    }
}

/// Options of a bind mount, in the order in which runtimes take them.
fn bind_options(options: Vec<String>, recursive: &str) -> Result<Vec<String>> {
    let (mut recursive, mut propagation, mut others) = (recursive.to_owned(), "rprivate".to_owned(), vec![]);
    for option in options {
        match option.as_str() {
            "bind" | "rbind" => recursive = option,
            "private" | "rprivate" | "slave" | "rslave" => propagation = option,
            "shared" | "rshared" => {
                return Err(Error::new(format!(
                    "{option} would make the payload's mounts appear on the host; use rslave"
                )));
            }
            "z" | "Z" => return Err(relabelled()),
            "U" | "chown" => {
                return Err(Error::new(format!(
                    "{option} would change the owner of files of the host; do that with chown"
                )));
            }
            "O" | "copy" | "nocopy" | "idmap" => {
                return Err(Error::new(format!("the option {option} is not supported")));
            }
            _ => others.push(option),
        }
    }
    let others = flags(others)?;
    let is_ro = others.iter().any(|option| option == "ro");
    let mut all = vec![recursive, propagation];
    all.extend((!is_ro && !others.contains(&"rw".to_owned())).then(|| "rw".to_owned()));
    all.extend(others);
    Ok(all)
}

fn relabelled() -> Error {
    Error::new(
        "files of the host keep their labels; on a host with SELinux, label them with semanage-fcontext(8) and restorecon(8)",
    )
}

/// Options of a tmpfs: not for setuid programs and devices, unless they say otherwise, and with the files that the image
/// has there.
fn tmpfs_options(options: Vec<String>) -> Result<Vec<String>> {
    let (sized, plain): (Vec<String>, Vec<String>) =
        options.into_iter().partition(|option| option.contains('='));
    let (copies, plain): (Vec<String>, Vec<String>) =
        plain.into_iter().partition(|option| matches!(option.as_str(), "tmpcopyup" | "notmpcopyup"));
    for option in &sized {
        let (key, value) = option.split_once('=').unwrap_or_default();
        let is_number = |radix| u32::from_str_radix(value, radix).is_ok() && !value.starts_with('+');
        let amount = value.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G', '%']);
        let is_amount = !amount.is_empty() && amount.bytes().all(|byte| byte.is_ascii_digit());
        let is_good = match key {
            "mode" => is_number(8),
            "uid" | "gid" => is_number(10),
            "size" | "nr_inodes" | "nr_blocks" => is_amount && value.len() - amount.len() < 2,
            _ => false,
        };
        if !is_good {
            return Err(Error::new(format!("{option} is not an option of a tmpfs")));
        }
    }
    let mut all = vec!["rprivate".to_owned()];
    let plain = flags(plain)?;
    let has = |option: &str| plain.iter().any(|other| other == option);
    let defaults = [("nosuid", "suid"), ("nodev", "dev"), ("rw", "ro")];
    all.extend(
        defaults.iter().filter(|(own, other)| !has(own) && !has(other)).map(|(own, _)| (*own).to_owned()),
    );
    all.extend(plain);
    if !copies.iter().any(|option| option == "notmpcopyup") {
        all.push("tmpcopyup".into());
    }
    all.extend(sized);
    Ok(all)
}

/// Options that file systems of every type have.
fn flags(options: Vec<String>) -> Result<Vec<String>> {
    const PAIRS: [(&str, &str); 4] = [("ro", "rw"), ("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec")];
    let has = |option: &str| options.iter().any(|other| other == option);
    if let Some((one, other)) = PAIRS.iter().find(|(one, other)| has(one) && has(other)) {
        return Err(Error::new(format!("{one} and {other} contradict each other")));
    }
    match options.iter().find(|option| !PAIRS.iter().any(|(one, other)| option == one || option == other)) {
        Some(option) => Err(Error::new(format!("there is no option {option:?}"))),
        None => Ok(options),
    }
}

/// An absolute path without `..`.
pub fn path(text: &str) -> Result<PathBuf> {
    if text.contains(char::is_control) {
        return Err(Error::new(format!("{text:?} contains control characters")));
    }
    let parts = paths::components(Path::new(text)).filter(|_| text.starts_with('/'));
    let parts =
        parts.ok_or_else(|| Error::new(format!("{text:?} is not an absolute path without \"..\"")))?;
    Ok(Path::new("/").join(parts.iter().collect::<PathBuf>()))
}

/// The place of a mount in the container.
fn place(text: &str) -> Result<PathBuf> {
    let place = path(text)?;
    if place == Path::new("/") {
        return Err(Error::new("nothing can be mounted over the whole root file system"));
    }
    if let Some(kernel) = KERNEL.iter().find(|kernel| place.starts_with(kernel)) {
        return Err(Error::new(format!("{} is in {kernel}, which is the kernel's", place.display())));
    }
    if place == Path::new("/dev") || own_device(&place).is_some() {
        return Err(Error::new(format!(
            "{} is the container's own; devices of the host are added with AddDevice=",
            place.display()
        )));
    }
    Ok(place)
}

/// The first component below `/dev` of a path there that every container has.
pub fn own_device(path: &Path) -> Option<&'static str> {
    let below = path.strip_prefix("/dev").ok()?.iter().next()?;
    OWN_DEVICES.iter().find(|own| below == **own).copied()
}

/// [`crate::container::settings::Key::check`] of `Volume=`.
pub fn check_volume(text: &str) -> Result<()> {
    volume(text).map(|_| ())
}

/// [`crate::container::settings::Key::check`] of `Tmpfs=`.
pub fn check_tmpfs(text: &str) -> Result<()> {
    tmpfs(text).map(|_| ())
}

/// [`crate::container::settings::Key::check`] of `Mount=`.
pub fn check_mount(text: &str) -> Result<()> {
    mount(text).map(|_| ())
}

/// [`crate::container::settings::Key::check`] of a path.
pub fn check_path(text: &str) -> Result<()> {
    path(text).map(|_| ()).context(|| "expected a path".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(mount: &UserMount) -> String {
        mount.options.join(",")
    }

    #[test]
    fn volumes_are_directories_of_the_host_or_own_ones() {
        for (text, host, destination, expected) in [
            ("/data", None, "/data", ""),
            ("/srv/x/:/data//y/", Some("/srv/x"), "/data/y", "rbind,rprivate,rw"),
            ("/srv:/d:ro", Some("/srv"), "/d", "rbind,rprivate,ro"),
            ("/srv:/d:rslave,noexec,nosuid,nodev", Some("/srv"), "/d", "rbind,rslave,rw,noexec,nosuid,nodev"),
            ("/dev/log:/dev/log", Some("/dev/log"), "/dev/log", "rbind,rprivate,rw"),
            ("/dev/shm:/dev/shm", Some("/dev/shm"), "/dev/shm", "rbind,rprivate,rw"),
            ("/:/host:ro,bind", Some("/"), "/host", "bind,rprivate,ro"),
            ("/proc:/host/proc:ro", Some("/proc"), "/host/proc", "rbind,rprivate,ro"),
        ] {
            let found = volume(text).unwrap();
            assert_eq!(found.destination, Path::new(destination), "{text}");
            assert_eq!(options(&found), expected, "{text}");
            let kind = host.map_or(UserMountKind::Volume, |host| UserMountKind::Bind(host.into()));
            assert_eq!(found.kind, kind, "{text}");
        }
    }

    #[test]
    fn mounts_are_those_of_podman() {
        for (text, kind, expected) in [
            ("type=bind,source=/a,destination=/b", "/a", "rbind,rprivate,rw"),
            ("type=bind,src=/a,dst=/b,ro=true,bind-propagation=slave", "/a", "rbind,slave,ro"),
            ("type=bind,src=/a,target=/b,readonly,bind-nonrecursive=true", "/a", "bind,rprivate,ro"),
            ("type=tmpfs,dst=/b", "tmpfs", "rprivate,nosuid,nodev,rw,tmpcopyup"),
            (
                "type=tmpfs,dst=/b,tmpfs-size=1m,tmpfs-mode=0700,notmpcopyup,ro",
                "tmpfs",
                "rprivate,nosuid,nodev,ro,size=1m,mode=0700",
            ),
            ("type=volume,dst=/b", "volume", ""),
            ("dst=/b", "volume", ""),
        ] {
            let found = mount(text).unwrap();
            assert_eq!(
                (found.destination.as_path(), options(&found)),
                (Path::new("/b"), expected.to_owned())
            );
            let shown = match &found.kind {
                UserMountKind::Bind(source) => source.to_str().unwrap(),
                UserMountKind::Tmpfs => "tmpfs",
                UserMountKind::Volume => "volume",
            };
            assert_eq!(shown, kind, "{text}");
        }
        let memory = tmpfs("/t:size=10%,nr_inodes=1k,uid=7,exec,suid").unwrap();
        assert_eq!(options(&memory), "rprivate,nodev,rw,exec,suid,tmpcopyup,size=10%,nr_inodes=1k,uid=7");
    }

    #[test]
    fn what_cannot_be_mounted_is_refused_with_a_reason() {
        for (text, reason) in [
            ("data:/data", "named volumes such as \"data\" are not supported; give the path of a directory"),
            ("./data:/data", "\"./data\" is not an absolute path without \"..\""),
            ("/a/../b:/data", "\"/a/../b\" is not an absolute path without \"..\""),
            (":/data", "\"\" is not an absolute path without \"..\""),
            ("/srv:data", "\"data\" is not an absolute path without \"..\""),
            ("/srv:/", "nothing can be mounted over the whole root file system"),
            ("/srv:/proc", "/proc is in /proc, which is the kernel's"),
            ("/srv:/proc/sys/x", "/proc/sys/x is in /proc, which is the kernel's"),
            ("/srv:/sys/fs/cgroup", "/sys/fs/cgroup is in /sys, which is the kernel's"),
            ("/dev:/dev", "/dev is the container's own; devices of the host are added with AddDevice="),
            ("/srv:/dev/pts/0", "/dev/pts/0 is the container's own; devices"),
            ("/srv:/d:ro,rw", "ro and rw contradict each other"),
            ("/srv:/d:Z", "files of the host keep their labels; on a host with SELinux"),
            ("/srv:/d:U", "U would change the owner of files of the host; do that with chown"),
            ("/srv:/d:rshared", "rshared would make the payload's mounts appear on the host; use rslave"),
            ("/srv:/d:O", "the option O is not supported"),
            ("/srv:/d:size=1m", "there is no option \"size=1m\""),
            ("/srv:/d:ro:x", "expected [HOST-PATH:]CONTAINER-PATH[:OPTIONS]"),
            ("/srv:/d\u{1b}", "\"/d\\u{1b}\" contains control characters"),
        ] {
            let error = volume(text).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{text}: {error}");
        }
        for (text, reason) in [
            ("type=bind,dst=/b", "the source is missing"),
            ("type=bind,src=/a", "the destination is missing"),
            ("type=tmpfs,src=/a,dst=/b", "a tmpfs has no source"),
            ("type=tmpfs,dst=/b,size=1t", "size=1t is not an option of a tmpfs"),
            ("type=tmpfs,dst=/b,tmpfs-mode=9", "mode=9 is not an option of a tmpfs"),
            ("type=tmpfs,dst=/b,huge=always", "huge=always is not an option of a tmpfs"),
            ("type=volume,src=x,dst=/b", "named volumes such as \"x\" are not supported; use type=bind"),
            ("type=image,src=x,dst=/b", "unknown type \"image\": expected bind, tmpfs or volume"),
            ("type=bind,src=/a,dst=/b,ro=maybe", "ro=maybe is neither true nor false"),
            ("type=bind,src=/a,dst", "dst needs a value"),
            ("type=bind,src=/a,dst=/b,relabel=shared", "files of the host keep their labels"),
        ] {
            let error = mount(text).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{text}: {error}");
        }
        assert!(tmpfs("/proc").is_err() && tmpfs("x").is_err());
    }
}
