//! Keys that take the place of what an image says of its payload: its command, user, working directory and environment.

use oci_spec::image::Config;

use crate::container::info::Values;
use crate::container::keys::mounts::{UserMount, UserMountKind};
use crate::container::keys::payload;
use crate::container::settings::Settings;
use crate::error::{Error, Result};
use crate::paths;

/// Changes an image's own configuration as the administrator wants it.
pub fn apply(config: &mut Config, settings: &Settings) -> Result<()> {
    if let Some(text) = settings.last("Entrypoint") {
        config.set_entrypoint(Some(payload::entrypoint(text)?));
        config.set_cmd(None);
    }
    if let Some(text) = settings.last("Exec") {
        config.set_cmd(Some(payload::command(text)?));
    }
    // As podman takes it: one that is empty clears that of the image below.
    if config.entrypoint().as_deref() == Some(&[String::new()]) {
        config.set_entrypoint(None);
    }
    if let Some(directory) = settings.last("WorkingDir") {
        config.set_working_dir(Some(directory.to_owned()));
    }
    if let Some(user) = user(settings)? {
        config.set_user(Some(user));
    }
    let mounts = settings.mounts();
    check_places(&mounts)?;
    config.set_volumes(Some(volumes(config.volumes().as_deref().unwrap_or_default(), &mounts)));
    Ok(())
}

fn user(settings: &Settings) -> Result<Option<String>> {
    match (settings.last("User"), settings.last("Group")) {
        (None, Some(_)) => Err(Error::new("Group= needs User=")),
        (Some(user), Some(_)) if user.contains(':') => {
            Err(Error::new(format!("User={user} has a group already, so Group= cannot be set")))
        }
        (Some(user), Some(group)) => Ok(Some(format!("{user}:{group}"))),
        (user, None) => Ok(user.map(str::to_owned)),
    }
}

/// Fails if two things are to be mounted at one place.
fn check_places(mounts: &[UserMount]) -> Result<()> {
    let mut places: Vec<_> = mounts.iter().map(|mount| &mount.destination).collect();
    places.sort();
    match places.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::new(format!(
            "two of Volume=, Tmpfs= and Mount= are for {}; unset the key, and give each of its values that is to stay",
            pair[0].display()
        ))),
        None => Ok(()),
    }
}

/// The image's volumes, without those in whose places something else is mounted, and with those that the user wants.
fn volumes(of_image: &[String], mounts: &[UserMount]) -> Vec<String> {
    let is_hidden = |path: &str| {
        let path = paths::cleaned(path);
        mounts.iter().any(|mount| mount.kind != UserMountKind::Volume && mount.destination == path)
    };
    let own = mounts.iter().filter(|mount| mount.kind == UserMountKind::Volume);
    let own = own.map(|mount| mount.destination.to_string_lossy().into_owned());
    of_image.iter().filter(|path| !is_hidden(path)).cloned().chain(own).collect()
}

/// The variables of `--set` and of `Environment=`. Fails if they contradict each other.
pub fn environment(values: &Values, settings: &Settings) -> Result<Values> {
    let mut all = settings.environment();
    for (name, value) in values {
        if all.get(name).is_some_and(|other| other != value) {
            return Err(Error::new(format!(
                "--set {name} and Environment= have different values of {name}; unset one of them with --unset {name} or -o Environment="
            )));
        }
        all.insert(name.clone(), value.clone());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::image::ConfigBuilder;

    fn applied(texts: &[&str]) -> Result<Config> {
        let mut config = ConfigBuilder::default()
            .entrypoint(vec!["/entry".to_owned()])
            .cmd(vec!["a".to_owned(), "b".into()])
            .user("app")
            .working_dir("/w")
            .volumes(vec!["x/..//data/".to_owned(), "/log".into()])
            .build()
            .unwrap();
        apply(&mut config, &Settings::of(texts))?;
        Ok(config)
    }

    #[test]
    fn commands_are_those_of_podman() {
        let words = |config: &Config| -> Vec<String> {
            [config.entrypoint(), config.cmd()].into_iter().flatten().flatten().cloned().collect()
        };
        assert_eq!(words(&applied(&[]).unwrap()), ["/entry", "a", "b"]);
        assert_eq!(words(&applied(&["Exec=x 'y z'"]).unwrap()), ["/entry", "x", "y z"]);
        // An entrypoint takes the image's arguments with it, but not the user's.
        assert_eq!(words(&applied(&["Entrypoint=/other"]).unwrap()), ["/other"]);
        let both = applied(&["Exec=x", r#"Entrypoint=["/other", "-c"]"#]).unwrap();
        assert_eq!(words(&both), ["/other", "-c", "x"]);
        for none in ["Entrypoint=[]", r#"Entrypoint=[""]"#] {
            assert_eq!(words(&applied(&[none, "Exec=/bin/sh"]).unwrap()), ["/bin/sh"]);
        }
    }

    #[test]
    fn an_entrypoint_of_an_empty_word_is_none() {
        let words = |entrypoint: &[&str]| {
            let entrypoint: Vec<String> = entrypoint.iter().map(|word| (*word).to_owned()).collect();
            let config = ConfigBuilder::default().entrypoint(entrypoint).cmd(vec!["/look".to_owned()]);
            let mut config = config.build().unwrap();
            apply(&mut config, &Settings::default()).unwrap();
            let words = [config.entrypoint(), config.cmd()].into_iter().flatten().flatten();
            words.cloned().collect::<Vec<_>>()
        };
        assert_eq!(words(&[""]), ["/look"]);
        // Two are none to podman either.
        assert_eq!(words(&["", ""]), ["", "", "/look"]);
    }

    #[test]
    fn users_directories_and_volumes() {
        let config = applied(&["User=1", "Group=2", "WorkingDir=/x", "Tmpfs=/data", "Volume=/own"]).unwrap();
        assert_eq!(config.user().as_deref(), Some("1:2"));
        assert_eq!(config.working_dir().as_deref(), Some("/x"));
        assert_eq!(config.volumes().as_deref().unwrap(), ["/log", "/own"]);
        for (bad, reason) in [
            (vec!["Group=2"], "Group= needs User="),
            (vec!["User=1:2", "Group=2"], "User=1:2 has a group already, so Group= cannot be set"),
            (
                vec!["Volume=/a:/x", "Tmpfs=/x"],
                "two of Volume=, Tmpfs= and Mount= are for /x; unset the key, and give each of its values that is to stay",
            ),
        ] {
            assert_eq!(applied(&bad).unwrap_err().to_string(), reason);
        }
    }

    #[test]
    fn variables_that_contradict_each_other_are_not_shown() {
        let values = Values::from([("A".into(), "secret".into()), ("B".into(), "1".into())]);
        let both = environment(&values, &Settings::of(&["Environment=C=2 B=1"])).unwrap();
        assert_eq!(both.into_values().collect::<Vec<_>>(), ["secret", "1", "2"]);
        let error = environment(&values, &Settings::of(&["Environment=A=other"])).unwrap_err().to_string();
        assert!(error.starts_with("--set A and Environment= have different values of A;"), "{error}");
        assert!(!error.contains("secret") && !error.contains("other"), "{error}");
    }
}
