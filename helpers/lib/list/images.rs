//! The images in the store, as text and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::error::Result;
use crate::image::exports::Variables;
use crate::image::profile::Profile;
use crate::program::bytes;
use crate::program::table;
use crate::program::text;
use crate::store::catalog::{CatalogEntry, LayerBlob};
use crate::update::retention::Users;

/// An image as JSON, see syscontainer-images(8).
pub fn to_json(entry: &CatalogEntry, users: &Users) -> Value {
    let (name, tag) = split(&entry.image.name);
    json!({
        "image": entry.image.name, "name": name, "tag": tag, "digest": entry.image.digest, "commit": entry.image.commit,
        "created": entry.created, "size": entry.size, "unique-size": entry.unique, "signer": entry.signer,
        "used-by": users.of_commit(&entry.image.commit), "title": entry.image.title,
        "provenance": entry.image.provenance,
    })
}

/// The layers of an image as JSON, lowest first.
pub fn layers_to_json(entry: &CatalogEntry) -> Value {
    let layer = |layer: &LayerBlob| json!({"digest": layer.digest, "size": layer.size, "media-type": layer.media_type});
    entry.layers.iter().map(layer).collect()
}

/// A table of images, with a heading.
pub fn table(entries: &[CatalogEntry], users: &Users) -> String {
    let heading = ["NAME", "TAG", "DIGEST", "CREATED", "SIZE", "UNIQUE", "SIGNER", "USED BY"];
    let mut rows = vec![heading.map(str::to_owned)];
    rows.extend(entries.iter().map(|entry| {
        let (name, tag) = split(&entry.image.name);
        let used = users.of_commit(&entry.image.commit).join(" ");
        [
            name.to_owned(),
            tag.to_owned(),
            entry.image.digest.short().to_owned(),
            entry.created.as_deref().map_or("-", |created| created.get(..10).unwrap_or(created)).to_owned(),
            bytes::shown(entry.size),
            bytes::shown(entry.unique),
            entry.signer.clone().unwrap_or_else(|| "-".into()),
            if used.is_empty() { "-".into() } else { used },
        ]
    }));
    table::format(&rows)
}

/// Everything about one image, as text.
pub fn details(entry: &CatalogEntry, users: &Users, variables: &Variables) -> Result<String> {
    let mut out = String::new();
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(out, "{key:<11} {}", text::printable(value));
    };
    line("Image", &entry.image.name);
    line("Called", &entry.image.title);
    line("Source", &entry.image.provenance.to_string());
    line("Policy", entry.image.provenance.policy_scope.as_deref().unwrap_or("-"));
    line("Digest", entry.image.digest.as_ref());
    line("Commit", entry.image.commit.as_str());
    line("Created", entry.created.as_deref().unwrap_or("-"));
    line("Size", &format!("{} ({} unique)", bytes::shown(entry.size), bytes::shown(entry.unique)));
    line("Signer", entry.signer.as_deref().unwrap_or("-"));
    line("Used by", &users.of_commit(&entry.image.commit).join(" "));
    profile_lines(&Profile::of(&entry.image)?, &mut line);
    for (key, value) in entry.image.labels()? {
        line("Label", &format!("{key}={value}"));
    }
    for layer in &entry.layers {
        line("Layer", &format!("{} {} {}", layer.digest, bytes::shown(layer.size), layer.media_type));
    }
    for (name, value) in &variables.defaults {
        line("Variable", &format!("{name}={value}"));
    }
    for name in &variables.missing {
        line("Variable", &format!("{name}, which has no default: give it with --set {name}=VALUE"));
    }
    Ok(out)
}

/// What an image says about itself; nothing where it says nothing.
fn profile_lines(profile: &Profile, line: &mut impl FnMut(&str, &str)) {
    let optional = [
        ("Title", &profile.title),
        ("Description", &profile.description),
        ("User", &profile.user),
        ("WorkingDir", &profile.working_dir),
        ("StopSignal", &profile.stop_signal),
    ];
    for (key, value) in optional {
        value.iter().for_each(|value| line(key, value));
    }
    for (key, command) in [("Entrypoint", &profile.entrypoint), ("Cmd", &profile.cmd)] {
        if !command.is_empty() {
            line(key, &json!(command).to_string());
        }
    }
    for (key, values) in [("Env", &profile.env), ("Volume", &profile.volumes), ("Port", &profile.ports)] {
        values.iter().for_each(|value| line(key, value));
    }
    profile.healthcheck.iter().for_each(|check| line("Healthcheck", &check.to_string()));
}

/// Splits a name in the store into name and tag, or name and digest. A path has neither.
fn split(image: &str) -> (&str, &str) {
    let is_last = |(_, last): &(&str, &str)| !last.contains('/');
    let by_tag = || image.rsplit_once(':').filter(is_last);
    image.split_once('@').filter(is_last).or_else(by_tag).unwrap_or((image, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_tag_or_a_digest() {
        assert_eq!(split("r.io:5000/a/b:1"), ("r.io:5000/a/b", "1"));
        assert_eq!(split("r.io/a@sha256:12"), ("r.io/a", "sha256:12"));
        assert_eq!(split("oci:/a/b:1"), ("oci:/a/b", "1"));
        assert_eq!(split("dir:/a@b/c"), ("dir:/a@b/c", ""));
    }
}
