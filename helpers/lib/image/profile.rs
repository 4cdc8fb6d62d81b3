//! What an image says about itself in its OCI configuration, as far as its users want to know it.

use serde::Serialize;
use serde_json::Value;

use crate::error::{Context, Result};
use crate::image::Image;
use crate::program::text;

/// Labels of the OCI image specification, annotations.md.
const TITLE: &str = "org.opencontainers.image.title";
const DESCRIPTION: &str = "org.opencontainers.image.description";
/// How many characters of a title are used as the description of a unit.
const TITLE_MAX: usize = 120;

/// The configuration of an image; the fields are JSON keys of `syscontainer-images --json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Profile {
    /// Its title for people.
    pub title: Option<String>,
    /// What it is, in a sentence or two.
    pub description: Option<String>,
    /// What is run.
    pub entrypoint: Vec<String>,
    /// The arguments of that, or what is run if there is none.
    pub cmd: Vec<String>,
    /// Environment variables, `NAME=VALUE`.
    pub env: Vec<String>,
    /// `USER` as it was written.
    pub user: Option<String>,
    /// Where it runs.
    pub working_dir: Option<String>,
    /// Directories whose content is kept.
    pub volumes: Vec<String>,
    /// Ports that it says it listens on, as `80/tcp`.
    pub ports: Vec<String>,
    /// The signal that ends it.
    pub stop_signal: Option<String>,
    /// How its health is checked, as the image has it.
    pub healthcheck: Option<Value>,
}

impl Profile {
    /// Reads the configuration of an image.
    pub fn of(image: &Image) -> Result<Profile> {
        let config = image.configuration()?.config().clone().unwrap_or_default();
        let labels = image.labels()?;
        let label = |name| labels.get(name).filter(|text| !text.trim().is_empty()).cloned();
        let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Ok(Profile {
            title: label(TITLE),
            description: label(DESCRIPTION),
            entrypoint: config.entrypoint().clone().unwrap_or_default(),
            cmd: config.cmd().clone().unwrap_or_default(),
            env: config.env().clone().unwrap_or_default(),
            user: set(config.user()),
            working_dir: set(config.working_dir()),
            volumes: sorted(config.volumes()),
            ports: sorted(config.exposed_ports()),
            stop_signal: set(config.stop_signal()),
            healthcheck: healthcheck(image)?,
        })
    }

    /// The title as the description of a unit: one line of moderate length, for [`text::printable`] to clean.
    pub fn unit_description(&self) -> Option<String> {
        let words = self.title.as_deref()?.split_whitespace().collect::<Vec<_>>().join(" ");
        let shown: String = text::printable(&words).chars().take(TITLE_MAX).collect();
        // At the end of a line it would continue it.
        let shown = shown.trim_end_matches(['\\', ' ']);
        (!shown.is_empty()).then(|| shown.to_owned())
    }

    /// What it listens on, in the words of a message.
    pub fn shown_ports(&self) -> ShownPorts {
        ShownPorts::of(&self.ports)
    }
}

/// Ports in the words of a message; `None` if there are none.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ShownPorts {
    /// Those that there can be.
    pub possible: Option<String>,
    /// Everything else, which nothing can listen on.
    pub impossible: Option<String>,
}

impl ShownPorts {
    /// What `EXPOSE` says.
    pub fn of(ports: &[String]) -> ShownPorts {
        let (possible, others): (Vec<&String>, Vec<&String>) = ports.iter().partition(|port| is_port(port));
        let joined = |list: Vec<String>| (!list.is_empty()).then(|| list.join(", "));
        ShownPorts {
            possible: joined(possible.into_iter().cloned().collect()),
            impossible: joined(others.into_iter().map(|port| format!("{port:?}")).collect()),
        }
    }
}

/// Whether a text is a port or a range of ports, with or without a protocol, as podman takes it. Of sources, the value of
/// a variable is unknown.
fn is_port(text: &str) -> bool {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|number| is_number && *number > 0)
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let is_range = number(first).zip(number(last)).is_some_and(|(first, last)| first <= last);
    let is_protocol = ["tcp", "udp", "sctp"].iter().any(|known| protocol.eq_ignore_ascii_case(known));
    text.contains('$') || is_range && is_protocol
}

fn sorted(list: &Option<Vec<String>>) -> Vec<String> {
    let mut list = list.clone().unwrap_or_default();
    list.sort();
    list
}

/// The OCI specification does not have it, but Docker's images do. `HEALTHCHECK NONE` is none.
fn healthcheck(image: &Image) -> Result<Option<Value>> {
    let config: Value = serde_json::from_str(&image.config)
        .context(|| format!("cannot read the configuration of {}", image.name))?;
    let check = config.pointer("/config/Healthcheck").filter(|check| check.is_object());
    let first = check.and_then(|check| check.pointer("/Test/0")).and_then(Value::as_str);
    Ok(check.filter(|_| first.is_some_and(|first| first != "NONE")).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::Commit;
    use crate::digest::Digest;
    use crate::provenance::Provenance;
    use serde_json::json;

    fn profile(config: Value) -> Profile {
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": config, "rootfs": {"type": "layers", "diff_ids": []},
        });
        let provenance = Provenance {
            transport: "docker".into(),
            source: "docker://r/web:1".into(),
            architecture: "amd64".into(),
            policy_scope: None,
        };
        let image = Image {
            name: "r/web:1".into(),
            title: "r/web:1".into(),
            provenance,
            commit: Commit::unknown(),
            digest: Digest::of(b""),
            manifest: String::new(),
            config: config.to_string(),
        };
        Profile::of(&image).unwrap()
    }

    #[test]
    fn an_image_says_what_it_is() {
        let all = profile(json!({
            "Entrypoint": ["/e"], "Cmd": ["c"], "Env": ["A=b"], "User": "web", "WorkingDir": "/srv",
            "Volumes": {"/b": {}, "/a": {}}, "ExposedPorts": {"80/tcp": {}, "443/tcp": {}}, "StopSignal": "SIGQUIT",
            "Healthcheck": {"Test": ["CMD", "true"]},
            "Labels": {TITLE: "Web server", DESCRIPTION: "Serves the web."},
        }));
        assert_eq!(
            (all.entrypoint, all.cmd, all.env),
            (vec!["/e".into()], vec!["c".into()], vec!["A=b".into()])
        );
        assert_eq!((all.user.as_deref(), all.working_dir.as_deref()), (Some("web"), Some("/srv")));
        assert_eq!(
            (all.volumes, all.ports),
            (vec!["/a".into(), "/b".into()], vec!["443/tcp".into(), "80/tcp".into()])
        );
        assert_eq!(all.stop_signal.as_deref(), Some("SIGQUIT"));
        assert_eq!(all.healthcheck, Some(json!({"Test": ["CMD", "true"]})));
        assert_eq!(
            (all.title.as_deref(), all.description.as_deref()),
            (Some("Web server"), Some("Serves the web."))
        );
        let none =
            json!({"User": "", "WorkingDir": "", "Labels": {TITLE: " "}, "Healthcheck": {"Test": ["NONE"]}});
        assert_eq!(profile(none), Profile::default());
        for odd in [json!([]), json!({}), json!({"Test": []}), json!({"Test": "x"}), Value::Null] {
            assert_eq!(profile(json!({"Healthcheck": odd})), Profile::default());
        }
    }

    #[test]
    fn only_ports_that_there_can_be_are_shown() {
        let shown = |ports: &[&str]| {
            let ports = ShownPorts::of(&ports.iter().map(|port| (*port).to_owned()).collect::<Vec<_>>());
            (ports.possible.unwrap_or_default(), ports.impossible.unwrap_or_default())
        };
        let good = ["80", "53/udp", "8000-8010/tcp", "1-65535/SCTP", "$PORT/tcp", "${FROM}-99"];
        assert_eq!(shown(&good), (good.join(", "), String::new()));
        let bad = [
            "",
            "/tcp",
            "0",
            "99999/tcp",
            "http",
            "70000-70001",
            "2-1",
            "80/icmp",
            "80/",
            "+80",
            "1-2-3",
            "80 81",
        ];
        assert_eq!(shown(&bad), (String::new(), bad.map(|port| format!("{port:?}")).join(", ")));
        assert_eq!(shown(&["x", "80"]), ("80".into(), "\"x\"".into()));
        assert_eq!(ShownPorts::of(&[]), ShownPorts::default());
    }

    #[test]
    fn a_title_is_one_line() {
        let title = |title: &str| profile(json!({"Labels": {TITLE: title}})).unit_description();
        assert_eq!(title(" Web\n server\t2 ").as_deref(), Some("Web server 2"));
        assert_eq!(title("back\\\\ \\").as_deref(), Some("back"));
        assert_eq!(title("\\"), None);
        assert_eq!(title(&"x".repeat(1000)).map(|title| title.len()), Some(TITLE_MAX));
        let hostile = title("a\u{202e}b\u{1b}[31mc").unwrap();
        assert!(!hostile.contains(['\u{202e}', '\u{1b}']), "{hostile}");
    }
}
