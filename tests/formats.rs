//! File formats, and what manual pages say of them: the pages in section 5 have the keys of the structures, with their types
//! and defaults, and all tables of MESSAGE_IDs are the same.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserializer, Serialize, forward_to_deserialize_any};
use serde_json::Value;

use common::{Page, file, names, same};
use syscontainers::container::declared::Declared;
use syscontainers::container::execution::Execution;
use syscontainers::container::info::{Info, Ours, RecordedFiles};
use syscontainers::container::registration;
use syscontainers::container::registration::Registration;
use syscontainers::container::runtime::Runtime;
use syscontainers::container::settings;
use syscontainers::container::state::{Before, Failure, State, Switch};
use syscontainers::container::storage::Storage;
use syscontainers::container::volume::Volume;
use syscontainers::image::limits;
use syscontainers::provenance::Provenance;
use syscontainers::system::journal::Event;
use syscontainers::unit::syntax;

/// The keys of a structure, as it tells them to what it is read from; none where another structure is flattened into it.
fn fields<T: DeserializeOwned>() -> Vec<String> {
    struct Fields<'a>(&'a mut Vec<String>);
    impl<'de> Deserializer<'de> for Fields<'_> {
        type Error = serde::de::value::Error;
        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(serde::de::Error::custom("it is not a structure"))
        }
        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            self.0.extend(fields.iter().map(|&field| field.to_owned()));
            self.deserialize_any(visitor)
        }
        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    let mut found = Vec::new();
    let _ = T::deserialize(Fields(&mut found));
    found
}

/// A name of `failed` that is only read.
const FORMER_NAME: &str = "bad";

/// All keys of a structure and of those inside it, by the prefixes of their keys, `volumes[].` as an example: what they take, and
/// what they write.
fn all_fields<T: DeserializeOwned>(below: &[(&str, Vec<String>)], written: &Value) -> BTreeSet<String> {
    let mut keys: BTreeSet<String> = fields::<T>().into_iter().filter(|name| name != FORMER_NAME).collect();
    for (prefix, names) in below.iter().chain(&[("", Vec::new())]) {
        keys.extend(names.iter().map(|name| format!("{prefix}{name}")));
        let mut written = written.clone();
        let object = find(&mut written, &format!("{prefix}x")).map(|(object, _)| object.clone());
        keys.extend(object.unwrap_or_default().keys().map(|name| format!("{prefix}{name}")));
    }
    keys
}

/// What a page says of a key.
struct Key {
    /// `string`, `string or null` and the like.
    kind: String,
    /// `None` where the key is required.
    default: Option<Value>,
}

/// The keys that a page documents: tags such as `volumes[].owner (array, required)`.
fn documented(page: &Page, path: &str) -> BTreeMap<String, Key> {
    let mut keys = BTreeMap::new();
    for tag in page.tags("KEYS") {
        let parts = tag.strip_suffix(')').and_then(|tag| tag.split_once(" ("));
        let parts = parts.and_then(|(key, rest)| Some((key, rest.split_once(", ")?)));
        let (key, (kind, default)) = parts.unwrap_or_else(|| panic!("{path}: {tag}"));
        let default = match default.strip_prefix("default ") {
            Some(text) => Some(serde_json::from_str(text).unwrap_or_else(|e| panic!("{path}: {tag}: {e}"))),
            None if default == "required" => None,
            None => panic!("{path}: {tag}"),
        };
        let known = keys.insert(key.to_owned(), Key { kind: kind.to_owned(), default });
        assert!(known.is_none(), "{path}: {key} is there twice");
    }
    keys
}

/// A value inside another one, by the name of its key; of arrays the first element is meant.
fn find<'a>(value: &'a mut Value, key: &str) -> Option<(&'a mut serde_json::Map<String, Value>, String)> {
    let (below, last) = key.rsplit_once('.').map_or(("", key), |(below, last)| (below, last));
    let mut inner = value;
    for part in below.split('.').filter(|part| !part.is_empty()) {
        inner = match part.strip_suffix("[]") {
            Some(part) => inner.get_mut(part)?.get_mut(0)?,
            None => inner.get_mut(part)?,
        };
    }
    Some((inner.as_object_mut()?, last.to_owned()))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Compares the page of a format with the structure that is read and written. `below` has the structures inside it, with the
/// prefix of their keys.
fn compare<T: DeserializeOwned + Serialize>(path: &str, below: &[(&str, Vec<String>)], takes_unknown: bool) {
    let page = Page::read(path);
    let keys = documented(&page, path);
    let mut example: Value =
        serde_json::from_str(&page.example("EXAMPLE")).unwrap_or_else(|e| panic!("{path}: {e}"));
    // As it is written again: what is not written has its default.
    let read = |value: &Value| {
        serde_json::from_value::<T>(value.clone()).map(|read| serde_json::to_value(read).unwrap())
    };
    let whole = read(&example).unwrap_or_else(|e| panic!("the example in {path}: {e}"));
    same(path, keys.keys().cloned().collect(), all_fields::<T>(below, &whole));
    for (key, said) in &keys {
        let mut with = example.clone();
        let (object, name) =
            find(&mut with, key).unwrap_or_else(|| panic!("the example in {path} has no {key}"));
        let value = object.get(&name).unwrap_or_else(|| panic!("the example in {path} has no {key}"));
        assert!(
            said.kind.split(" or ").any(|said| said == kind(value)),
            "{path}: {key} is not {}",
            said.kind
        );
        let mut without = example.clone();
        let (smaller, name) = find(&mut without, key).unwrap();
        smaller.remove(&name);
        match &said.default {
            None => assert!(read(&without).is_err(), "{path}: {key} is not required"),
            Some(default) => {
                object.insert(name, default.clone());
                let (with, without) = (read(&with), read(&without));
                assert_eq!(with.unwrap(), without.unwrap(), "{path}: the default of {key}");
                let may_be_null = said.kind.ends_with(" or null");
                assert!(may_be_null || !default.is_null(), "{path}: {key} may be null");
            }
        }
    }
    same(&format!("the example in {path}"), paths(&whole, &keys), paths(&example, &keys));
    for prefix in below.iter().map(|(prefix, _)| *prefix).chain([""]) {
        let (object, _) = find(&mut example, &format!("{prefix}x")).unwrap();
        let unknown = object.keys().find(|key| !keys.contains_key(&format!("{prefix}{key}")));
        assert_eq!(unknown, None, "the example in {path}, below '{prefix}'");
    }
    let mut newer = example.clone();
    newer["from-the-future"] = true.into();
    assert_eq!(read(&newer).is_ok(), takes_unknown, "{path}: an unknown key");
}

/// The keys that a value has, as far as a page has them; those with their defaults are not written, and do not count.
fn paths(value: &Value, keys: &BTreeMap<String, Key>) -> BTreeSet<String> {
    let mut value = value.clone();
    let has = |(key, said): (&String, &Key)| {
        let (object, name) = find(&mut value, key)?;
        let value = object.get(&name)?;
        (said.default.as_ref() != Some(value)).then(|| key.clone())
    };
    keys.iter().filter_map(has).collect()
}

#[test]
fn registration() {
    let below = [
        ("execution.", fields::<Execution>()),
        ("execution.runtime.", fields::<Runtime>()),
        ("execution.volumes[].", fields::<Volume>()),
        ("storage.", fields::<Storage>()),
    ];
    compare::<Registration>("helpers/syscontainers-registration.5", &below, false);
}

#[test]
fn info() {
    // What is below `execution` is in the page of registrations.
    let below = [
        ("", fields::<RecordedFiles>()),
        ("syscontainers.", fields::<Ours>()),
        ("syscontainers.provenance.", fields::<Provenance>()),
    ];
    compare::<Info>("helpers/syscontainers-info.5", &below, true);
}

#[test]
fn state() {
    let below = [
        ("declared.", fields::<Declared>()),
        ("failed[].", fields::<Failure>()),
        ("switch.", fields::<Switch>()),
        ("switch.purpose.", Vec::new()),
        ("switch.before.", fields::<Before>()),
    ];
    compare::<State>("helpers/syscontainers-state.5", &below, true);
}

/// The lines of a page that begin with a MESSAGE_ID, with what they say.
fn messages(path: &str) -> Vec<(String, String)> {
    let is_id = |text: &str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let lines = file(path).lines().map(str::to_owned).collect::<Vec<_>>();
    let message = |line: String| {
        let (id, text) = line.split_once("  ")?;
        is_id(id).then(|| (id.to_owned(), text.to_owned()))
    };
    lines.into_iter().filter_map(message).collect()
}

#[test]
fn messages_are_the_same_everywhere() {
    let ids = Event::ALL.map(Event::id).map(str::to_owned).to_vec();
    let listed = messages("units/syscontainers.7");
    assert_eq!(
        listed.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(),
        ids,
        "syscontainers(7), and Event"
    );
    // Each kind of event has one page that is its own, and the catalog names that first.
    let catalog = file("units/syscontainers.catalog");
    let mut entries = BTreeMap::new();
    let mut order = Vec::new();
    for entry in format!("\n{catalog}").split("\n-- ").skip(1) {
        let (id, text) = entry.split_once('\n').unwrap();
        let line = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
        assert!(line("Subject: ").is_some() && line("Defined-By: ").is_some(), "{id}");
        let pages = line("Documentation: ").unwrap_or_else(|| panic!("{id} names no page"));
        entries.insert(id.to_owned(), pages.split(' ').next().unwrap().to_owned());
        order.push(id.to_owned());
    }
    assert_eq!(order, ids, "the catalog, and Event");
    for page in names("helpers", ".8") {
        let found = messages(&format!("helpers/{page}"));
        if !found.is_empty() {
            let name = format!("man:{}(8)", page.trim_end_matches(".8"));
            let wanted = listed.iter().filter(|(id, _)| entries[id] == name).cloned();
            assert_eq!(found, wanted.collect::<Vec<_>>(), "{page}");
        }
    }
    assert!(!messages("helpers/syscontainer-switch.8").is_empty());
}

#[test]
fn the_manual_has_the_limits() {
    let page = file("units/syscontainers.7");
    let (_, section) = page.split_once(".SS Limits\n").unwrap();
    let (section, _) = section.split_once("\n.S").unwrap();
    let found: Vec<&str> =
        section.split(".TP\n.B ").skip(1).map(|item| item.lines().next().unwrap()).collect();
    let kib = |size: usize| format!("{} KiB", size >> 10);
    let limits = [
        kib(limits::TEXT),
        kib(limits::HOST_TEMPLATE),
        kib(limits::RENDERED),
        kib(limits::HOST_TEMPLATES),
        kib(syntax::MAX_SIZE),
        format!("{} files", limits::HOST_FILES),
        format!("{} directories", limits::DEPTH),
        format!("{} bytes", limits::PATH),
        format!("{} bytes", limits::USER),
        format!("{} groups", limits::GROUPS),
        format!("{} mounts", limits::MOUNTS),
        kib(registration::MAX_SIZE),
    ];
    assert_eq!(found, limits);
}

#[test]
fn the_manual_has_the_options_of_containers() {
    let page = Page::read("helpers/syscontainer-checkout.8");
    let name = |tag: String| tag.split('=').next().unwrap().to_owned();
    let documented: Vec<String> = page.tags("KEYS").into_iter().map(name).collect();
    let known: Vec<String> = settings::KEYS.iter().map(|key| key.name.to_owned()).collect();
    assert_eq!(documented, known);
}

/// Of the root file system, what the start makes.
#[test]
fn the_manual_says_what_is_confined() {
    let page = file("units/syscontainers-security.7");
    let (_, section) = page.split_once(".SH WHAT IS CONFINED\n").unwrap();
    let (images, _) = section.split_once(".B Volumes").unwrap();
    assert!(
        images.contains("is an overlay that the payload can write to") && images.contains(".B ReadOnly=yes")
    );
    assert!(!images.contains("root\nfile system is read\\-only"));
    let (_, directories) = section.split_once(".B Directories of the host").unwrap();
    let (_, exceptions) = directories.split_once("What is moved or mounted elsewhere later").unwrap();
    assert!(exceptions.contains("by its path only") && exceptions.contains("another file system"));
}

/// What nothing here prevents is for administrators to know.
#[test]
fn the_manual_says_what_is_not_protected() {
    let page = file("units/syscontainers-security.7");
    let (_, section) = page.split_once(".SH WHAT IS NOT PROTECTED\n").unwrap();
    let (section, _) = section.split_once("\n.SH").unwrap();
    for said in [
        "any container can together read and change the files of every user ID that the image names",
        "In a user namespace",
        "cgroup.max.descendants",
        "inotify (7)",
        "abstract sockets",
        "belongs to the next container of that name",
        "the owner of a file can take it out of the project whose size is limited, and put it into that of\nanother container",
        "A payload that is started from a shell",
        "a payload that holds a lease on its copy keeps the old content",
        "SplitMode=none",
    ] {
        assert!(section.contains(said), "{said}");
    }
}
