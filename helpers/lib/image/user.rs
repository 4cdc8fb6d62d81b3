//! The user that a payload runs as: `USER` of an image, looked up in the image's own passwd(5) and group(5).
//!
//! Everything is as podman does it, since images rely on that: a number is an ID and never a name, a user without a
//! group has the one of passwd(5) and all those that list it as a member, and the group is among the additional ones.

use serde_json::{Value, json};

use crate::container::accounts;
use crate::container::settings::Settings;
use crate::error::{Error, Result};
use crate::image::limits;
use crate::image::lookup::{Found, Lookup};
use crate::image::tree::Tree;
use crate::paths::Root;
use crate::steps;

/// IDs above are refused, as podman does.
const MAX_ID: u32 = i32::MAX as u32;
/// What new files of a payload do not allow, as with podman: 022.
const UMASK: u32 = 0o022;

/// The user that a payload runs as.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) home: Option<String>,
}

/// One line of passwd(5) or group(5), as far as it matters here.
struct Entry<'a> {
    name: &'a str,
    id: u32,
    /// The group of a user.
    gid: Option<u32>,
    /// The sixth field: a user's home.
    home: Option<&'a str>,
    /// The fourth field: the members of a group.
    members: &'a str,
}

impl User {
    /// Finds `USER`, `USER:GROUP` or `:GROUP`, each a number or a name; an empty text is root. What an administrator mounts in
    /// the place of the files takes precedence.
    pub fn find(tree: &dyn Tree, (root, settings): (&Root, &Settings), text: &str) -> Result<User> {
        let read = |path: &str| {
            let of_host = accounts::of_host(root, settings, path.as_ref());
            match of_host.and_then(|found| found.map_or_else(|| content(tree, path), Ok)) {
                // Root needs no entry.
                Err(_) if text.is_empty() => Ok(String::new()),
                content => content,
            }
        };
        Self::look_up(text, &read("/etc/passwd")?, &read("/etc/group")?)
    }

    fn look_up(text: &str, passwd: &str, group: &str) -> Result<User> {
        check_length(text)?;
        // A colon stands for a group, even where none follows it.
        let (name, group_name) = text.split_once(':').unwrap_or((text, ""));
        let has_group = name.len() < text.len();
        let number = id(name)?.or(name.is_empty().then_some(0));
        let entry = match number {
            Some(number) => entries(passwd).find(|entry| entry.id == number),
            None => entries(passwd).find(|entry| entry.name == name),
        };
        let uid = number.or(entry.as_ref().map(|entry| entry.id));
        let uid = uid.ok_or_else(|| Error::new(format!("its user {name:?} is not in its /etc/passwd")))?;
        let (gid, memberships) = if group_name.is_empty() {
            let gid = entry.as_ref().and_then(|entry| entry.gid).unwrap_or(0);
            let member = entry.as_ref().map(|entry| entry.name).filter(|_| !has_group);
            (gid, member.map_or_else(|| Ok(Vec::new()), |member| memberships(group, member))?)
        } else {
            let named = entries(group).find(|entry| entry.name == group_name).map(|entry| entry.id);
            let gid = id(group_name)?.or(named);
            let why = || Error::new(format!("its group in {text:?} is not in its /etc/group"));
            (gid.ok_or_else(why)?, Vec::new())
        };
        let mut groups = if text.is_empty() { Vec::new() } else { vec![gid] };
        groups.extend(memberships.into_iter().filter(|other| *other != gid));
        let home = entry.and_then(|entry| entry.home).filter(|home| !home.is_empty()).map(str::to_owned);
        Ok(User { uid, gid, groups, home })
    }

    /// `process.user` of a runtime configuration.
    pub fn to_json(&self) -> Value {
        let mut value = json!({"uid": self.uid, "gid": self.gid, "umask": UMASK});
        if !self.groups.is_empty() {
            value["additionalGids"] = json!(self.groups);
        }
        value
    }

    /// The home directory, if the image's passwd(5) has the user.
    pub fn home(&self) -> Option<&str> {
        self.home.as_deref()
    }
}

/// Reads a file of the image, whatever links lead to it, none of them out of the image; nothing where there is none.
fn content(tree: &dyn Tree, path: &str) -> Result<String> {
    let content = match Lookup::new(tree, [])?.find(path.as_ref())? {
        Found::File(file) => tree.read(&file.to_string_lossy())?.unwrap_or_default(),
        Found::Directory | Found::Other(_) => {
            return Err(Error::new(format!("its {path} is not a regular file")));
        }
        Found::Missing | Found::Mounted => Vec::new(),
    };
    Ok(String::from_utf8_lossy(&content).into_owned())
}

/// Refuses what is longer than any user, so that nothing that is done with it takes long.
fn check_length(text: &str) -> Result<()> {
    let (length, limit) = (text.len(), limits::USER);
    if length <= limit {
        return Ok(());
    }
    Err(Error::new(format!(
        "its user is {length} bytes long, over the limit of {limit}; see Limits in syscontainers(7)"
    )))
}

/// The ID that a text is; `None` if it is a name.
fn id(text: &str) -> Result<Option<u32>> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>().ok().filter(|id| *id <= MAX_ID) {
        Some(id) => Ok(Some(id)),
        None => Err(Error::new(format!("its user or group ID {text} is not in the range 0-{MAX_ID}"))),
    }
}

/// The valid lines of passwd(5) or group(5). IDs that are refused in `USER` make a line invalid, too: the highest one
/// means "unchanged" to the kernel, so that a payload would stay root.
fn entries(file: &str) -> impl Iterator<Item = Entry<'_>> {
    steps::counted(file.lines()).filter_map(|line| {
        // None of the fields behind these counts.
        let fields: Vec<&str> = line.trim().splitn(8, ':').collect();
        let field = |index: usize| fields.get(index).copied();
        Some(Entry {
            name: field(0).filter(|name| !name.is_empty())?,
            id: field(2)?.parse().ok().filter(|id| *id <= MAX_ID)?,
            gid: field(3).and_then(|gid| gid.parse().ok()).filter(|gid| *gid <= MAX_ID),
            home: field(5),
            members: field(3).unwrap_or_default(),
        })
    })
}

/// The numbers of the groups that have `user` among their members.
fn memberships(file: &str, user: &str) -> Result<Vec<u32>> {
    let of_user = |entry: &Entry| entry.members.split(',').any(|member| member == user);
    let limit = limits::GROUPS;
    let found: Vec<u32> = entries(file).filter(of_user).map(|entry| entry.id).take(limit + 1).collect();
    if found.len() > limit {
        return Err(Error::new(format!(
            "its user {user:?} is in more than {limit} groups of its /etc/group, which exceeds the limit"
        )));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tree::Directory;
    use std::fs;
    use std::os::unix::fs::symlink;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\nbad:x:y:1\napp:x:1000:1000:App:/home/app:/bin/sh\n\
                          twin:x:1000:2000::/t:/bin/sh\n77:x:5:6::/x:/bin/sh\nweb:x:33:44\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,app\napp:x:1000:\nextra:x:1005:app,twin\ntwins:x:1006:twin\n\
                         99:x:7:app\n";

    #[test]
    fn users_are_those_that_podman_finds() {
        // What podman 4.3.1 makes of each with these files.
        for (text, uid, gid, groups, home) in [
            ("", 0, 0, vec![10], Some("/root")),
            ("0", 0, 0, vec![0, 10], Some("/root")),
            ("root", 0, 0, vec![0, 10], Some("/root")),
            ("1000", 1000, 1000, vec![1000, 10, 1005, 7], Some("/home/app")),
            ("app", 1000, 1000, vec![1000, 10, 1005, 7], Some("/home/app")),
            ("1000:1005", 1000, 1005, vec![1005], Some("/home/app")),
            ("app:extra", 1000, 1005, vec![1005], Some("/home/app")),
            ("app:app", 1000, 1000, vec![1000], Some("/home/app")),
            ("app:", 1000, 1000, vec![1000], Some("/home/app")),
            ("twin", 1000, 2000, vec![2000, 1005, 1006], Some("/t")),
            ("1234", 1234, 0, vec![0], None),
            ("1234:5", 1234, 5, vec![5], None),
            ("77", 77, 0, vec![0], None),
            ("99:99", 99, 99, vec![99], None),
            ("1000:99", 1000, 99, vec![99], Some("/home/app")),
            (":app", 0, 1000, vec![1000], Some("/root")),
            ("0:1000", 0, 1000, vec![1000], Some("/root")),
            ("root:wheel", 0, 10, vec![10], Some("/root")),
            ("+5", 5, 6, vec![6], Some("/x")),
            ("web", 33, 44, vec![44], None),
        ] {
            let expected = User { uid, gid, groups, home: home.map(str::to_owned) };
            assert_eq!(User::look_up(text, PASSWD, GROUP).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn users_that_podman_refuses_are_refused() {
        for (text, reason) in [
            ("nobodyknows", "its user \"nobodyknows\" is not in its /etc/passwd"),
            ("bad", "its user \"bad\" is not in its /etc/passwd"),
            (" app", "its user \" app\" is not in its /etc/passwd"),
            ("app:nogroup", "its group in \"app:nogroup\" is not in its /etc/group"),
            ("-1", "its user or group ID -1 is not in the range 0-2147483647"),
            ("0:4294967295", "its user or group ID 4294967295 is not in the range 0-2147483647"),
            ("2147483648", "its user or group ID 2147483648 is not in the range 0-2147483647"),
            ("99999999999", "its user or group ID 99999999999 is not in the range 0-2147483647"),
        ] {
            assert_eq!(User::look_up(text, PASSWD, GROUP).unwrap_err().to_string(), reason);
        }
    }

    #[test]
    fn ids_that_mean_something_else_to_the_kernel_are_no_users() {
        let passwd = "max:x:4294967295:4294967295:::\nbig:x:2147483648:1:::\nhalf:x:7:4294967295:::\n";
        let group = "g:x:4294967295:half\nh:x:2147483647:half\n";
        for (text, reason) in [
            ("max", "its user \"max\" is not in its /etc/passwd"),
            ("big", "its user \"big\" is not in its /etc/passwd"),
            ("1:g", "its group in \"1:g\" is not in its /etc/group"),
        ] {
            assert_eq!(User::look_up(text, passwd, group).unwrap_err().to_string(), reason);
        }
        let half = User::look_up("half", passwd, group).unwrap();
        assert_eq!((half.uid, half.gid, half.groups), (7, 0, vec![0, MAX_ID]));
    }

    #[test]
    fn users_and_their_groups_have_limits() {
        let look_up = |text: &str, groups: usize| User::look_up(text, PASSWD, &"g:x:9:app\n".repeat(groups));
        let zeros = |length: usize| format!("{}1000", "0".repeat(length - 4));
        assert_eq!(look_up(&zeros(limits::USER), 1).unwrap().uid, 1000);
        let refused = look_up(&zeros(4_000_000), 1).unwrap_err().to_string();
        assert!(refused.starts_with("its user is 4000000 bytes long, over the limit of 256;"), "{refused}");
        assert_eq!(look_up("app", limits::GROUPS).unwrap().groups.len(), limits::GROUPS + 1);
        let refused = look_up("app", limits::GROUPS + 1).unwrap_err().to_string();
        assert!(refused.contains("\"app\" is in more than 65536 groups"), "{refused}");
        steps::assert_linear("groups", |size| assert!(look_up("app", size).is_ok()));
    }

    #[test]
    fn links_to_its_files_are_followed_and_stay_in_the_image() {
        let dir = tempfile::tempdir().unwrap();
        let (root, store) = (dir.path().join("root"), "nix/store/x-fake-nss");
        let write = |path: &str, content: &str| {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), content).unwrap();
        };
        write(&format!("{store}/passwd"), PASSWD);
        write(&format!("{store}/group"), GROUP);
        fs::create_dir(root.join("etc")).unwrap();
        symlink(format!("/{store}/passwd"), root.join("etc/passwd")).unwrap();
        symlink(format!("../../../{store}/group"), root.join("etc/group")).unwrap();
        let tree = Directory(root.clone());
        let find = |tree: &Directory, text: &str| {
            User::find(tree, (&Root::new(dir.path()), &Settings::default()), text)
        };
        for text in ["", "app", "1000:1005", "app:extra"] {
            let expected = User::look_up(text, PASSWD, GROUP).unwrap();
            assert_eq!(find(&tree, text).unwrap(), expected, "{text}");
        }
        // What is outside is not the image's, wherever a link leads.
        fs::write(dir.path().join("passwd"), "host:x:7:7::/:\n").unwrap();
        let link = |target: &str| {
            fs::remove_file(root.join("etc/passwd")).unwrap();
            symlink(target, root.join("etc/passwd")).unwrap();
        };
        for target in [dir.path().join("passwd").to_str().unwrap(), "../../passwd", "passwd", "none"] {
            link(target);
            let refused = find(&tree, "host").unwrap_err().to_string();
            assert_eq!(refused, "its user \"host\" is not in its /etc/passwd");
        }
        link("../nix");
        assert_eq!(find(&tree, "7").unwrap_err().to_string(), "its /etc/passwd is not a regular file");
        assert_eq!(find(&tree, "").unwrap(), User::look_up("", "", GROUP).unwrap());
        // The directory may be a link, too.
        fs::remove_dir_all(root.join("etc")).unwrap();
        symlink(store, root.join("etc")).unwrap();
        assert_eq!(find(&tree, "app").unwrap(), User::look_up("app", PASSWD, GROUP).unwrap());
        // What is mounted there is seen in its place.
        let settings = Settings::of(&["Volume=/passwd:/etc/passwd"]);
        let found = User::find(&tree, (&Root::new(dir.path()), &settings), "host").unwrap();
        assert_eq!((found.uid, found.home.as_deref()), (7, Some("/")));
    }

    #[test]
    fn a_runtime_gets_all_of_it() {
        let user = User::look_up("1000", PASSWD, GROUP).unwrap();
        let groups = [1000, 10, 1005, 7];
        assert_eq!(user.to_json(), json!({"uid": 1000, "gid": 1000, "umask": 18, "additionalGids": groups}));
        let alone = User::look_up("", "", "").unwrap();
        assert_eq!((alone.to_json(), alone.home()), (json!({"uid": 0, "gid": 0, "umask": 18}), None));
    }
}
