//! Rules for runtime configurations: what an installation refuses, what runtimes refuse, and what they ignore.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::config::{LintedConfig, with_values};
use super::finding::{LintReport, Place};
use super::inspection::{Inspection, NO_VALUE};
use super::rules;
use crate::image::{binds, command, limits, systemd};
use crate::oci::capabilities;
use crate::oci::config::{self, InvalidConfig};
use crate::oci::nesting;
use crate::oci::normalise::is_released;

/// Applies the rules for runtime configurations.
pub fn check(config: &LintedConfig, inspection: &Inspection, report: &mut LintReport) {
    let run_once = inspection.exports.is_run_once();
    let texts = inspection.exports.texts();
    let is_plain = texts.config.is_none() && texts.config_template.is_none();
    root(config, run_once || is_plain, report);
    types(config, report);
    old_forms(config, report);
    capabilities(config, report);
    relative_paths(config, report);
    mount_types(config, report);
    writable_files(config, inspection, report);
    command(config, inspection, report);
    if !run_once {
        stop_signal(config, inspection, report);
    }
    if inspection.exports.config_template().is_some() {
        directories(config, inspection, report);
    }
}

fn root(config: &LintedConfig, scratch: bool, report: &mut LintReport) {
    for invalid in config.written.invalid_root(scratch) {
        let (rule, pointer) = match &invalid {
            InvalidConfig::RootPath(Some(path)) if path == NO_VALUE => continue,
            InvalidConfig::RootPath(_) => (&rules::ROOT_PATH, "/root/path"),
            _ => (&rules::READONLY_ROOT, "/root/readonly"),
        };
        report.add(rule, config.place(pointer), invalid.to_string());
    }
}

/// Checks what an installation refuses, except for root file system and capabilities, which have rules of their own.
fn types(config: &LintedConfig, report: &mut LintReport) {
    let mut value = config.written.value().clone();
    if let Some(object) = value.as_object_mut() {
        object.insert("root".into(), json!({"path": "rootfs", "readonly": true}));
    }
    for pointer in CAPABILITIES {
        if let Some(capabilities) = value.pointer_mut(pointer) {
            drop_unknown(capabilities);
        }
    }
    if let Err(error) = limits::check_mounts(&config.normalised) {
        report.add(&rules::TOO_LARGE, config.place("/mounts"), error.to_string());
    }
    let Err(invalid) = config::Config::new(value).check(false) else { return };
    let place = match &invalid {
        InvalidConfig::NoArgs => config.place("/process/args"),
        // serde_json does not say where a wrong type is.
        _ => Place::file(&config.file),
    };
    report.add(&rules::CONFIG_INVALID, place, invalid.to_string());
}

/// Where capabilities are now, and where they were before OCI 1.0.
const CAPABILITIES: [&str; 2] = ["/process/capabilities", "/linux/capabilities"];

fn old_forms(config: &LintedConfig, report: &mut LintReport) {
    if config.get("/process/terminal").is_some_and(|terminal| *terminal == Value::Bool(true)) {
        let message = "process.terminal must be false: a service has no terminal";
        report.add(&rules::TERMINAL, config.place("/process/terminal"), message);
    }
    let pointer = "/linux/selinuxProcessLabel";
    if config.get(pointer).is_some() {
        let message = "linux.selinuxProcessLabel is ignored by runtimes; use process.selinuxLabel";
        report.add(&rules::SELINUX_LABEL, config.place(pointer), message);
    }
    let version = config.written.value().get("ociVersion").and_then(Value::as_str);
    if config.written.value().is_object()
        && !version.is_some_and(|version| is_released(version) || version == NO_VALUE)
    {
        let message = match version {
            Some(version) => {
                format!("ociVersion {version:?} is not a release 1.x, which runtimes refuse; write 1.0.2")
            }
            None => {
                "there is no ociVersion, without which runtimes refuse the configuration; write 1.0.2".into()
            }
        };
        report.add(&rules::OCI_VERSION, config.place("/ociVersion"), message);
    }
}

fn capabilities(config: &LintedConfig, report: &mut LintReport) {
    let mut seen = BTreeSet::new();
    for pointer in CAPABILITIES {
        let Some(value) = config.get(pointer) else { continue };
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

/// Drops unknown capabilities. Values of a wrong type are kept.
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

fn names(config: &LintedConfig, pointer: &str, seen: &mut BTreeSet<String>, report: &mut LintReport) {
    for (index, name) in config.list(pointer).iter().enumerate() {
        let Some(name) = name.as_str().filter(|name| *name != NO_VALUE) else { continue };
        if !is_capability(name) && seen.insert(name.to_owned()) {
            let place = config.place(&format!("{pointer}/{index}"));
            report.add(&rules::CAPABILITY, place, format!("there is no capability {name:?}"));
        }
    }
}

/// Relative bind sources are allowed: they are relative to the deployment.
fn relative_paths(config: &LintedConfig, report: &mut LintReport) {
    let mut check = |pointer: &str, what: &str| {
        if let Some(path) = config.get(pointer).and_then(Value::as_str).filter(|path| !path.starts_with('/'))
        {
            let message = format!("{what} {path:?} is relative, and must be absolute");
            report.add(&rules::RELATIVE_PATH, config.place(pointer), message);
        }
    };
    check("/process/cwd", "the working directory");
    for index in 0..config.list("/mounts").len() {
        check(&format!("/mounts/{index}/destination"), "the destination");
    }
}

fn mount_types(config: &LintedConfig, report: &mut LintReport) {
    for (index, (value, mount)) in config.list("/mounts").iter().zip(config.written.mounts()).enumerate() {
        let message = match value.get("type") {
            Some(kind) if kind == "rbind" => "there is no mount type rbind; use bind, with the option rbind",
            None if value.get("source").is_some() && !mount.has_bind_option() => "the mount has no type",
            _ => continue,
        };
        report.add(&rules::MOUNT_TYPE, config.place(&format!("/mounts/{index}/type")), message);
    }
}

/// Looks for mounts through which the payload would write to deployments.
fn writable_files(config: &LintedConfig, inspection: &Inspection, report: &mut LintReport) {
    let directories = binds::directories(inspection.installation);
    for (index, source) in nesting::writes_to(config.written.mounts(), &directories) {
        let message = format!("{} is shared with other containers; {}", source.display(), binds::REMEDY);
        report.add(&rules::WRITABLE_FILES, config.place(&format!("/mounts/{index}/source")), message);
    }
}

/// Looks for sources that stay below the directories of the host when the variables for these have other values.
fn directories(config: &LintedConfig, inspection: &Inspection, report: &mut LintReport) {
    let mut values = inspection.values.clone();
    for name in ["RUN_DIRECTORY", "STATE_DIRECTORY"] {
        values.insert(name.into(), format!("/.{name}"));
    }
    let Some(elsewhere) = with_values(inspection, &values) else { return };
    for (index, mount) in elsewhere.mounts().enumerate() {
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

/// Looks for a command that an image does not have; of sources, only what they export is known.
fn command(config: &LintedConfig, inspection: &Inspection, report: &mut LintReport) {
    let normalised = &config.normalised;
    let path = normalised.environment().filter(|entry| entry.starts_with("PATH="));
    let mut texts = normalised.arguments().take(1).chain(path).chain(normalised.working_directory());
    if inspection.target.image().is_none() || texts.any(|text| text.contains(NO_VALUE)) {
        return;
    }
    // Where files cannot be looked at, an installation fails for other reasons.
    if let Some(fault) = command::fault(&*inspection.target.tree(), normalised).ok().flatten() {
        report.add(&rules::COMMAND, config.place("/process/args"), fault);
    }
}

const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "ksh", "zsh"];

fn stop_signal(config: &LintedConfig, inspection: &Inspection, report: &mut LintReport) {
    let args: Vec<&str> = config.list("/process/args").iter().filter_map(Value::as_str).collect();
    if args.len() > 2 && systemd::is_command(&args) && !systemd::is_command(&args[..1]) {
        let message = format!(
            "{} is process 1 as long as {} runs, which has to be that itself, unless it is a shell that makes way for its last command; write that command alone",
            args[0], args[2]
        );
        report.add(&rules::STOP_SIGNAL, config.place("/process/args"), message);
        return;
    }
    let Some((shell, script)) = script(&args, inspection) else { return };
    let mut words = script.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
    let answers = words.any(|word| word == "trap" || word == "exec");
    if !answers && config.normalised.has_pid_namespace() {
        let message = format!(
            "process 1 is {shell}, which ignores its stop signal: every stop takes all of its time; begin the last command with exec, or set a trap"
        );
        report.add(&rules::STOP_SIGNAL, config.place("/process/args"), message);
    }
}

/// The shell that is process 1, and what it does, where that can be told.
fn script(args: &[&str], inspection: &Inspection) -> Option<(String, String)> {
    let (program, rest) = args.split_first()?;
    let Some(shell) = shell(program) else { return script_file(program, inspection) };
    let command =
        rest.iter().position(|arg| arg.starts_with('-') && !arg.starts_with("--") && arg.contains('c'));
    match command {
        Some(at) => Some((shell.to_owned(), (*rest.get(at + 1)?).to_owned())),
        None => script_file(rest.iter().find(|arg| !arg.starts_with('-'))?, inspection),
    }
}

fn shell(program: &str) -> Option<&str> {
    let name = Path::new(program).file_name()?.to_str()?;
    SHELLS.contains(&name).then_some(name)
}

/// A script in the image, by its absolute path there.
fn script_file(path: &str, inspection: &Inspection) -> Option<(String, String)> {
    let text = inspection.target.tree().read(path.strip_prefix('/')?).ok().flatten()?;
    let text = String::from_utf8(text).ok()?;
    let (first, rest) = text.strip_prefix("#!")?.split_once('\n')?;
    let shell = first.split_whitespace().find_map(shell)?.to_owned();
    let code: Vec<&str> = rest.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    Some((format!("{path}, a script of {shell}"), code.join("\n")))
}
