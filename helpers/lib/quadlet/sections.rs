//! The sections that systemd reads, and what podman adds to them.

use crate::container::keys::words;
use crate::name::Name;
use crate::quadlet::draft::{Draft, Part};
use crate::quadlet::files::SUFFIX;
use crate::quadlet::key::{Key, Section};
use crate::quadlet::syntax::Entry;

/// Suffixes of quadlets that are not containers.
const OTHERS: [&str; 7] = [".artifact", ".build", ".image", ".kube", ".network", ".pod", ".volume"];

/// The section of this name, if anything reads it.
pub fn of(name: &str) -> Option<Section> {
    match name {
        "Container" => Some(Section::Container),
        "Quadlet" => Some(Section::Quadlet),
        "Unit" => Some(Section::Unit),
        "Service" => Some(Section::Service),
        "Install" => Some(Section::Install),
        _ if name.starts_with("X-") => Some(Section::Extension),
        _ => None,
    }
}

/// A line of `[Unit]` that is the same in both.
pub fn unit(draft: &mut Draft<'_>, entry: &Entry, _: &Key) {
    draft.add(entry, Part::Unit, &entry.key, &entry.value);
}

/// A line of `[Service]` that is the same in both, unless it runs podman.
pub fn service(draft: &mut Draft<'_>, entry: &Entry, _: &Key) {
    let is_podman =
        |word: &str| word.trim_start_matches(['-', '+', '!', ':', '@']).rsplit('/').next() == Some("podman");
    if entry.key.starts_with("Exec") && entry.value.split_whitespace().any(is_podman) {
        return draft.refuse(entry, "podman does not know the container");
    }
    draft.add(entry, Part::Service, &entry.key, &entry.value);
}

/// A line of `[Install]` that is the same in both.
pub fn install(draft: &mut Draft<'_>, entry: &Entry, _: &Key) {
    draft.add(entry, Part::Install, &entry.key, &entry.value);
}

/// A line of a section that systemd ignores.
pub fn extension(draft: &mut Draft<'_>, entry: &Entry, _: &Key) {
    draft.add_extension(entry);
}

/// `Type=`: a container is always one that notifies systemd.
pub fn service_type(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    if !["", "notify"].contains(&entry.value.as_str()) {
        draft.refuse(entry, key.note);
    }
}

/// What must not be in `[Service]`. An empty line sets nothing.
pub fn refuse_set(draft: &mut Draft<'_>, entry: &Entry, key: &Key) {
    if !entry.value.is_empty() {
        draft.refuse(entry, key.note);
    }
}

/// `DefaultInstance=` of a template that is enabled.
pub fn default_instance(draft: &mut Draft<'_>, entry: &Entry, _: &Key) {
    let stem = &draft.quadlet.stem;
    if !stem.ends_with('@') {
        return;
    }
    if entry.value.is_empty() {
        draft.default_instance = None;
        return;
    }
    match format!("{stem}{}", entry.value).parse::<Name>() {
        Ok(_) => draft.default_instance = Some(entry.value.clone()),
        Err(e) => draft.refuse(entry, &e.to_string()),
    }
}

/// A dependency, which may name another quadlet.
pub fn dependency(draft: &mut Draft<'_>, entry: &Entry, _: &Key) {
    let words = match words::split(&entry.value) {
        Ok(words) => words,
        Err(e) => return draft.refuse(entry, &e.to_string()),
    };
    let mut units = Vec::new();
    for word in words {
        if let Some(suffix) = OTHERS.iter().find(|suffix| word.ends_with(*suffix)) {
            let why = format!("there is no unit for {word}, since declarations have nothing like {suffix}");
            return draft.refuse(entry, &why);
        }
        let Some(stem) = word.strip_suffix(SUFFIX) else {
            units.push(word);
            continue;
        };
        match service_of(draft, stem) {
            Ok(service) => units.push(format!("{service}.service")),
            Err(why) => return draft.refuse(entry, &why),
        }
    }
    draft.add(entry, Part::Unit, &entry.key, &units.join(" "));
}

/// What the service of another quadlet is called, which may be an instance.
fn service_of(draft: &mut Draft<'_>, stem: &str) -> Result<String, String> {
    if let Some(other) = draft.together.find(stem) {
        return Ok(other.service().to_owned());
    }
    let template = stem.split_once('@').map(|(unit, _)| format!("{unit}@"));
    for file in [Some(stem.to_owned()), template].into_iter().flatten() {
        if let Some(named) = draft.beside(&format!("{file}{SUFFIX}"), service_name)? {
            return Ok(if named.is_empty() { stem.to_owned() } else { named });
        }
    }
    Err(format!("there is no {stem}{SUFFIX} beside the file"))
}

/// What `ServiceName=` says, which may be nothing.
fn service_name(entries: &[Entry]) -> Result<String, String> {
    let named = entries.iter().filter(|entry| &*entry.section == "Container" && entry.key == "ServiceName");
    Ok(named.map(Entry::text).rfind(|text| !text.is_empty()).unwrap_or_default().to_owned())
}

/// Adds what podman does without being told, where declarations do something else.
pub fn complete(draft: &mut Draft<'_>) {
    let quadlet = draft.quadlet;
    if !quadlet.has("Container", "Image") && !quadlet.has("Container", "Rootfs") {
        draft.refuse_all("there is no Image=");
    }
    let is_off = ["0", "no", "false", "off"];
    let network = quadlet.last("Quadlet", "DefaultDependencies");
    let waits = !network.is_some_and(|text| is_off.iter().any(|word| text.eq_ignore_ascii_case(word)));
    if waits && quadlet.last("Container", "Network") != Some("none") {
        draft.imply(Part::Unit, "After=network-online.target", true);
        draft.imply(Part::Unit, "Wants=network-online.target", true);
    }
    draft.imply(Part::Container, "Plain=yes", false);
    // Without these, a container is started again when it fails, and after 5 seconds.
    if !quadlet.has("Service", "Restart") {
        draft.imply(Part::Service, "Restart=no", false);
    } else if !quadlet.has("Service", "RestartSec") {
        draft.imply(Part::Service, "RestartSec=100ms", false);
    }
    if draft.has(Part::Install) {
        // Instead of multi-user.target.
        draft.imply(Part::Install, "WantedBy=", true);
    } else {
        draft.imply(Part::Container, "Enable=no", false);
    }
}
