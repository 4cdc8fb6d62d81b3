//! Volumes, mounts and memory.

use crate::container::keys::words;
use crate::quadlet::draft::Draft;
use crate::quadlet::key::Key;
use crate::quadlet::specifiers;
use crate::quadlet::syntax::Entry;
use crate::quadlet::values;

/// What is said of volumes of podman's.
const OWN: &str = "becomes a volume of the container's own: it begins with what the image has there, not with what podman's has, and nothing else mounts it";
/// What is said of volumes without a name.
const KEPT: &str = "is kept, as volumes of declarations are; podman makes a new one at every start";
/// What is said of options for SELinux.
const LABELS: &str = "does not label files of the host; on one with SELinux, do that with semanage-fcontext(8) and restorecon(8)";
/// Keys of `[Volume]` that do not change what is in a volume.
const HARMLESS: [&str; 3] = ["Label", "ServiceName", "VolumeName"];
/// Options of volumes that say what holds anyway, or only how a label is chosen.
const DEFAULTS: [&str; 5] = ["rw", "copy", "z", "Z", ""];

/// `Volume=`
pub fn volume(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    let parts: Vec<&str> = entry.value.splitn(3, ':').collect();
    match parts[..] {
        [destination] => {
            draft.carry(entry, key.name, destination);
            draft.note(entry, KEPT);
        }
        [source, destination, ref options @ ..] => {
            let options: Vec<&str> = options.iter().flat_map(|options| options.split(',')).collect();
            if is_path(source) {
                let source = draft.quadlet.resolve(source);
                let (labels, others) = without_labels(&options);
                let others = if others.is_empty() { String::new() } else { format!(":{}", others.join(",")) };
                draft.carry(entry, key.name, &format!("{source}:{destination}{others}"));
                if labels {
                    draft.note(entry, LABELS);
                }
            } else {
                named(draft, entry, source, destination, &options);
            }
        }
        [] => {}
    }
}

/// Whether a source is a path of the host, and not the name of a volume.
fn is_path(source: &str) -> bool {
    let is_fixed = |c: char| matches!(c, 't' | 'S' | 'C' | 'L' | 'E' | 'T' | 'V' | 'h');
    source.starts_with(['/', '.']) || source.strip_prefix('%').is_some_and(|rest| rest.starts_with(is_fixed))
}

/// Whether options ask for labels, and the others.
fn without_labels<'a>(options: &[&'a str]) -> (bool, Vec<&'a str>) {
    let is_label = |option: &str| matches!(option, "z" | "Z") || option.starts_with("relabel=");
    let labels = options.iter().any(|option| is_label(option));
    (labels, options.iter().copied().filter(|option| !is_label(option) && !option.is_empty()).collect())
}

/// A volume with a name. Declarations have none that several containers could share.
fn named(draft: &mut Draft<'_>, entry: &Entry, name: &str, destination: &str, options: &[&str]) {
    if let Some(option) = options.iter().find(|option| !DEFAULTS.contains(*option)) {
        return draft.refuse(entry, &format!("a volume of the container's own has no option {option}"));
    }
    if let Err(why) = specifiers::translate(name) {
        return draft.refuse(entry, &why);
    }
    if draft.volumes.contains(name) || draft.together.is_shared(name, draft.number) {
        return draft.refuse(
            entry,
            &format!("the volume {name} is mounted at several places; make it a directory of the host, and write its path"),
        );
    }
    if draft.quadlet.has_instances() && !name.contains("%i") && !name.ends_with("@.volume") {
        return draft.refuse(
            entry,
            &format!(
                "instances share the volume {name}; make it a directory of the host, and write its path"
            ),
        );
    }
    let checked = if name.ends_with(".volume") { check_unit(draft, name) } else { Ok(()) };
    if let Err(why) = checked {
        return draft.refuse(entry, &why);
    }
    draft.volumes.insert(name.to_owned());
    draft.carry(entry, "Volume", destination);
    draft.note(entry, OWN);
}

/// Checks what another quadlet, `NAME.volume`, says of a volume.
fn check_unit(draft: &mut Draft<'_>, name: &str) -> Result<(), String> {
    match draft.beside(name, decides_nothing)? {
        Some(_) => Ok(()),
        None => Err(format!("there is no {name} beside the file")),
    }
}

fn decides_nothing(entries: &[Entry]) -> Result<String, String> {
    let mut keys = entries.iter().filter(|entry| &*entry.section == "Volume" && !entry.value.is_empty());
    match keys.find(|entry| !HARMLESS.contains(&entry.key.as_str())) {
        Some(entry) => Err(format!(
            "{}: {}= decides what is in the volume; make it a directory of the host, and write its path",
            entry.place, entry.key
        )),
        None => Ok(String::new()),
    }
}

/// `Mount=`: words, each of which is a mount.
pub fn mount(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    match words::split(&entry.value) {
        Ok(mounts) => mounts.iter().for_each(|mount| one_mount(draft, entry, key, mount)),
        Err(e) => draft.refuse(entry, &e.to_string()),
    }
}

fn one_mount(draft: &mut Draft<'_>, entry: &Entry, key: &Key, mount: &str) {
    if mount.contains('"') {
        return draft.refuse(entry, "quotes inside of a mount are not supported");
    }
    let parts: Vec<&str> = mount.split(',').collect();
    let value = |keys: &[&str]| {
        let assignments = parts.iter().filter_map(|part| part.split_once('='));
        assignments.filter(|(key, _)| keys.contains(key)).map(|(_, value)| value).next_back()
    };
    let kind = value(&["type"]).unwrap_or("volume");
    let (source, destination) = (value(&["source", "src"]), value(&["destination", "dst", "target"]));
    let of_place = ["type", "source", "src", "destination", "dst", "target"];
    let is_option = |part: &&str| !part.split_once('=').is_some_and(|(key, _)| of_place.contains(&key));
    let options: Vec<&str> = parts.iter().copied().filter(is_option).collect();
    let Some(destination) = destination else {
        return draft.refuse(entry, "the destination is missing");
    };
    match (kind, source) {
        ("bind", Some(source)) => {
            let source = draft.quadlet.resolve(source);
            let (labels, others) = without_labels(&options);
            let others: String = others.iter().map(|option| format!(",{option}")).collect();
            draft.carry(
                entry,
                key.name,
                &format!("type=bind,source={source},destination={destination}{others}"),
            );
            if labels {
                draft.note(entry, LABELS);
            }
        }
        ("volume", Some(source)) => named(draft, entry, source, destination, &options),
        ("volume", None) if options.iter().all(|option| DEFAULTS.contains(option)) => {
            draft.carry(entry, "Volume", destination);
            draft.note(entry, KEPT);
        }
        ("bind" | "tmpfs" | "volume", _) => draft.carry(entry, key.name, mount),
        _ => draft.refuse(entry, &format!("mounts of type {kind} are not supported")),
    }
}

/// `VolatileTmp=`, which podman still takes.
pub fn volatile_tmp(draft: &mut Draft<'_>, entry: &Entry, _: &Key) {
    if values::boolean(entry.text()) != Ok(false) && !draft.quadlet.is_on("Container", "ReadOnly") {
        draft.set(entry, "Tmpfs", "/tmp:rw,size=512M,mode=1777");
    }
}

/// `ReadOnlyTmpfs=`: declarations always have these with `ReadOnly=`.
pub fn read_only_tmpfs(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    if values::boolean(entry.text()) != Ok(true) && draft.quadlet.is_on("Container", "ReadOnly") {
        draft.refuse(entry, key.note);
    }
}
