//! The runtime configuration: what an installation refuses, what runtimes refuse, and what they ignore.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::exports::Exports;
use super::manifest::reason;
use super::subject::{Subject, Text};
use super::variables::{self, NO_VALUE, Rendered};
use super::{Place, Report, json as positions, rules};
use crate::error::Result;
use crate::image::default_config;
use crate::image::exports::CONFIG_TEMPLATE;
use crate::image::manifest::Manifest;
use crate::image::template::{self, Target, Trace};
use crate::image::variables::Values;
use crate::oci::capabilities;
use crate::oci::config::{self, Normalised};
use crate::oci::normalise::is_released;
use crate::paths::Root;

/// A configuration that is JSON.
pub struct Config<'a> {
    /// As it was written.
    pub written: config::Config,
    /// As runtimes of today take it.
    pub normalised: Normalised,
    /// The text that was parsed, and where in the file that is from; `None` for one that was made of the image's own.
    origin: Option<(String, &'a Text, Option<&'a Trace>)>,
    file: String,
}

impl Config<'_> {
    /// Where in the file the value at `pointer` is, or what is around it.
    pub fn place(&self, pointer: &str) -> Place {
        match &self.origin {
            Some((text, file, trace)) => locate(file, *trace, positions::offset(text, pointer)),
            None => Place::file(&self.file),
        }
    }

    fn value(&self) -> &Value {
        self.written.value()
    }

    fn list(&self, pointer: &str) -> &[Value] {
        self.value().pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

fn locate(file: &Text, trace: Option<&Trace>, at: usize) -> Place {
    let at = trace.map_or(at, |trace| trace.origin(at)).min(file.text.len());
    let (line, column) = template::position(&file.text, at);
    Place::at(&file.file, line, column)
}

/// Applies the rules for configurations; `None` where there is none that could be looked at.
pub fn check<'a>(
    subject: &Subject,
    exports: &'a Exports,
    rendered: &'a Rendered,
    manifest: &Manifest,
    run_once: bool,
    report: &mut Report,
) -> Result<Option<Config<'a>>> {
    if let Some(file) = &exports.config {
        let message = "it is taken as it is, without variables; call it config.json.template";
        report.add(&rules::CONFIG_NOT_TEMPLATE, Place::file(&file.file), message);
    }
    let config = match (&exports.config, &exports.config_template) {
        (Some(file), _) => parse(file, file.text.clone(), None, report),
        (None, Some(file)) => from_template(file, rendered, report),
        (None, None) => made(subject, exports, rendered, manifest, report),
    };
    if let Some(config) = &config {
        root(config, run_once, report);
        types(config, report);
        old_forms(config, report);
        capabilities(config, report);
        paths(config, report);
        if !run_once {
            stop_signal(config, report);
        }
    }
    if let (Some(config), Some(file), None) = (&config, &exports.config_template, &exports.config) {
        directories(config, file, rendered, report);
    }
    Ok(config)
}

fn parse<'a>(
    file: &'a Text,
    text: String,
    trace: Option<&'a Trace>,
    report: &mut Report,
) -> Option<Config<'a>> {
    match serde_json::from_str::<Value>(&text) {
        Ok(value) => {
            let written = config::Config::new(value);
            let normalised = written.normalised();
            Some(Config { written, normalised, origin: Some((text, file, trace)), file: file.file.clone() })
        }
        Err(error) => {
            let place = locate(file, trace, offset_of(&text, &error));
            report.add(&rules::CONFIG_SYNTAX, place, format!("{}, after substitution", reason(&error)));
            None
        }
    }
}

/// The byte where JSON ends to be JSON. Columns are counted in bytes, and the last one that was read counts.
fn offset_of(text: &str, error: &serde_json::Error) -> usize {
    let start: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let mut at = (start + error.column().saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// A variable without a value may be anything; where no try gives JSON, nothing is said.
fn from_template<'a>(file: &'a Text, rendered: &'a Rendered, report: &mut Report) -> Option<Config<'a>> {
    let output = rendered.config.as_ref().filter(|output| !output.is_broken)?;
    if output.missing.is_empty() || serde_json::from_str::<Value>(&output.text).is_ok() {
        return parse(file, output.text.clone(), Some(&output.trace), report);
    }
    let texts = ["", "0"].map(|other| variables::fill(file, Target::Json, &rendered.variables.own, other).0);
    let text = texts.into_iter().find(|text| serde_json::from_str::<Value>(text).is_ok())?;
    let written = config::Config::parse(&text).expect("it was parsed above");
    let normalised = written.normalised();
    // The trace is of another text: there are no places in this one.
    Some(Config { written, normalised, origin: None, file: file.file.clone() })
}

/// An image without a configuration has its own, if that is good for one; sources do not tell yet.
fn made<'a>(
    subject: &Subject,
    exports: &Exports,
    rendered: &Rendered,
    manifest: &Manifest,
    report: &mut Report,
) -> Option<Config<'a>> {
    let shown = [CONFIG_TEMPLATE, crate::image::exports::CONFIG].map(|file| subject.shown(file));
    let is_known = report.findings.iter().any(|finding| shown.contains(&finding.place.file));
    let uses_payload =
        exports.service.as_ref().is_none_or(|s| template::variables(&s.text).contains("EXEC_START"));
    if manifest.no_container_service || !uses_payload || is_known {
        return None;
    }
    if exports.expects(subject) {
        let message = "there is no config.json.template; a configuration is made of the image's own";
        report.add(&rules::CONFIG_MISSING, Place::file(&shown[0]), message);
    }
    let image = subject.image()?;
    let variables = &rendered.variables;
    let state = variables.own.get("STATE_DIRECTORY").map_or("/var/lib", String::as_str);
    let (root, none) = (Root::default(), Values::new());
    let tree = subject.tree();
    let made = match default_config::of(&*tree, image, &variables.name, &root, &none, Path::new(state)) {
        Ok(made) => made,
        Err(error) => {
            let message = last_cause(&error.to_string(), &image.name);
            report.add(&rules::IMAGE_CONFIG, Place::file(&image.name), message);
            return None;
        }
    };
    let written = config::Config::parse(&made.config).ok()?;
    let normalised = written.normalised();
    Some(Config { written, normalised, origin: None, file: image.name.clone() })
}

/// The error behind what was attempted with the image.
fn last_cause(error: &str, image: &str) -> String {
    error.split_once(&format!("{image}: ")).map_or(error, |(_, cause)| cause).to_owned()
}

fn root(config: &Config, run_once: bool, report: &mut Report) {
    if !run_once && config.value().pointer("/root/readonly") != Some(&Value::Bool(true)) {
        let message = "root.readonly must be true: the files of a container are shared with the image store";
        report.add(&rules::READONLY_ROOT, config.place("/root/readonly"), message);
    }
    match config.value().pointer("/root/path") {
        Some(Value::String(path)) if path == "rootfs" || path == NO_VALUE => {}
        Some(path) => {
            let message = format!("root.path must be \"rootfs\", not {path}");
            report.add(&rules::ROOT_PATH, config.place("/root/path"), message);
        }
        None => {
            let message = "root.path is missing; it must be \"rootfs\"";
            report.add(&rules::ROOT_PATH, config.place("/root/path"), message);
        }
    }
}

/// What an installation refuses, but for root file system and capabilities, which have rules of their own.
fn types(config: &Config, report: &mut Report) {
    let mut value = config.value().clone();
    if let Some(object) = value.as_object_mut() {
        object.insert("root".into(), json!({"path": "rootfs", "readonly": true}));
    }
    for pointer in ["/process/capabilities", "/linux/capabilities"] {
        if let Some(capabilities) = value.pointer_mut(pointer) {
            drop_unknown(capabilities);
        }
    }
    let pointer = if config.value().is_object() { "/process/args" } else { "" };
    if let Err(error) = config::parse(&value.to_string(), "it", false) {
        let error = error.to_string();
        let message = error.strip_prefix("invalid configuration in it: ").unwrap_or(&error);
        // Where a wrong type is nobody says.
        let place = match message.starts_with("process.args") {
            true => config.place(pointer),
            false => Place::file(&config.file),
        };
        report.add(&rules::CONFIG_INVALID, place, message);
    }
}

fn old_forms(config: &Config, report: &mut Report) {
    if config.value().pointer("/process/terminal").is_some_and(|terminal| *terminal == Value::Bool(true)) {
        let message = "process.terminal must be false: a service has none";
        report.add(&rules::TERMINAL, config.place("/process/terminal"), message);
    }
    let pointer = "/linux/selinuxProcessLabel";
    if config.value().pointer(pointer).is_some() {
        let message = "linux.selinuxProcessLabel is ignored by runtimes; use process.selinuxLabel";
        report.add(&rules::SELINUX_LABEL, config.place(pointer), message);
    }
    let version = config.value().get("ociVersion").and_then(Value::as_str);
    if config.value().is_object()
        && !version.is_some_and(|version| is_released(version) || version == NO_VALUE)
    {
        let message = match version {
            Some(version) => {
                format!("ociVersion {version:?} is no release 1.x, which runtimes refuse; write 1.0.2")
            }
            None => "there is no ociVersion, without which runtimes refuse it; write 1.0.2".into(),
        };
        report.add(&rules::OCI_VERSION, config.place("/ociVersion"), message);
    }
}

fn capabilities(config: &Config, report: &mut Report) {
    let mut seen = BTreeSet::new();
    for pointer in ["/process/capabilities", "/linux/capabilities"] {
        let Some(value) = config.value().pointer(pointer) else { continue };
        if value.is_array() {
            let message = "capabilities are a list, which runtimes refuse; write an object of bounding, effective, permitted, inheritable and ambient";
            report.add(&rules::CAPABILITY_LIST, config.place(pointer), message);
            names(config, pointer, &mut seen, report);
        }
        for set in value.as_object().into_iter().flatten().map(|(set, _)| set) {
            names(config, &format!("{pointer}/{set}"), &mut seen, report);
        }
    }
}

/// Keeps what is a capability, and what is of a wrong type.
fn drop_unknown(value: &mut Value) {
    match value {
        Value::Array(list) => list.retain(|name| name.as_str().is_none_or(is_capability)),
        Value::Object(sets) => sets.values_mut().for_each(drop_unknown),
        _ => {}
    }
}

fn is_capability(name: &str) -> bool {
    name.starts_with("CAP_") && capabilities::number(name).is_some()
}

fn names(config: &Config, pointer: &str, seen: &mut BTreeSet<String>, report: &mut Report) {
    for (index, name) in config.list(pointer).iter().enumerate() {
        let Some(name) = name.as_str().filter(|name| *name != NO_VALUE) else { continue };
        if !is_capability(name) && seen.insert(name.to_owned()) {
            let place = config.place(&format!("{pointer}/{index}"));
            report.add(&rules::CAPABILITY, place, format!("there is no capability {name:?}"));
        }
    }
}

/// Options say whether a mount without a type is a bind mount.
fn binds(mount: &Value) -> bool {
    let options = mount.get("options").and_then(Value::as_array);
    options.is_some_and(|options| options.iter().any(|option| option == "bind" || option == "rbind"))
}

/// Relative bind sources are fine: they are of the deployment.
fn paths(config: &Config, report: &mut Report) {
    let mut relative = |pointer: &str, what: &str, path: Option<&Value>| {
        if let Some(path) = path.and_then(Value::as_str).filter(|path| !path.starts_with('/')) {
            let message = format!("{what} {path:?} is relative, and must be absolute");
            report.add(&rules::RELATIVE_PATH, config.place(pointer), message);
        }
    };
    relative("/process/cwd", "the working directory", config.value().pointer("/process/cwd"));
    for (index, mount) in config.list("/mounts").iter().enumerate() {
        let pointer = format!("/mounts/{index}");
        relative(&format!("{pointer}/destination"), "the destination", mount.get("destination"));
    }
    for (index, mount) in config.list("/mounts").iter().enumerate() {
        let pointer = format!("/mounts/{index}/type");
        match mount.get("type") {
            Some(kind) if kind == "rbind" => {
                let message = "there is no mount type rbind; use bind, with the option rbind";
                report.add(&rules::MOUNT_TYPE, config.place(&pointer), message);
            }
            None if mount.is_object() && mount.get("source").is_some() && !binds(mount) => {
                let message = "the mount has no type";
                report.add(&rules::MOUNT_TYPE, config.place(&pointer), message);
            }
            _ => {}
        }
    }
}

/// Sources that are below the directories as they are written, and not as the variables are.
fn directories(config: &Config, file: &Text, rendered: &Rendered, report: &mut Report) {
    let mut values = rendered.variables.own.clone();
    for name in ["RUN_DIRECTORY", "STATE_DIRECTORY"] {
        values.insert(name.into(), format!("/.{name}"));
    }
    let (text, _) = variables::fill(file, Target::Json, &values, NO_VALUE);
    let elsewhere: Value = serde_json::from_str(&text).unwrap_or_default();
    for (index, mount) in config::Config::new(elsewhere).mounts().enumerate() {
        let Some(source) = mount.bind_source() else { continue };
        for (rule, above, variable) in [
            (&rules::STATE_DIRECTORY, "/var/lib", "STATE_DIRECTORY"),
            (&rules::RUN_DIRECTORY, "/run", "RUN_DIRECTORY"),
        ] {
            if source.starts_with(above) {
                let message = format!("the bind source is below {above}; write ${{{variable}}}");
                report.add(rule, config.place(&format!("/mounts/{index}/source")), message);
            }
        }
    }
}

const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "ksh", "zsh"];

fn stop_signal(config: &Config, report: &mut Report) {
    let args: Vec<&str> = config.list("/process/args").iter().filter_map(Value::as_str).collect();
    let program = args.first().and_then(|path| Path::new(path).file_name()?.to_str()).unwrap_or_default();
    let command = args
        .iter()
        .skip(1)
        .position(|arg| arg.starts_with('-') && !arg.starts_with("--") && arg.contains('c'));
    let Some(script) = command.and_then(|at| args.get(at + 2)) else { return };
    let mut words = script.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
    let answers = words.any(|word| word == "trap" || word == "exec");
    if SHELLS.contains(&program) && !answers && config.normalised.has_pid_namespace() {
        let message = format!(
            "process 1 is {program}, which ignores its stop signal; begin the last command with exec, or set a trap"
        );
        report.add(&rules::STOP_SIGNAL, config.place("/process/args"), message);
    }
}
