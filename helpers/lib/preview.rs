//! What an installation would write and do, as text: `syscontainer-checkout --dry-run`.

use std::fmt::Write;
use std::path::Path;

use crate::body;
use crate::deployment::Deployments;
use crate::error::{Context, Result};
use crate::hostfs::HostFile;
use crate::installation;
use crate::name::Name;
use crate::paths::{ATTACHED, GENERATED, STUBS, TMPFILES};
use crate::plan::Planned;
use crate::systemd;
use crate::tree::Kind;

/// Every file with its path above it, in the order in which they come into being; then what is done.
pub fn show(deployments: &Deployments, name: &Name, planned: &Planned, enable: bool) -> Result<String> {
    let mut out = String::new();
    let (rendered, registration) = (&planned.content.rendered, &planned.registration);
    let deployment = deployments.directory().join(&planned.deployment);
    let info = &planned.info;
    heading(&mut out, &format!("{}/rootfs: {} ({})", deployment.display(), info.image, info.digest));
    if let Some((config, _)) = &rendered.config {
        file(&mut out, &deployment.join("config.json"), config);
    }
    let text = serde_json::to_string_pretty(info).context(|| "cannot show info".into())?;
    file(&mut out, &deployment.join("info"), &text);
    for host_file in rendered.layout.files() {
        let is_ours = planned.content.host_files.brought.contains(&host_file.path);
        describe(&mut out, host_file, is_ours, planned.content.host_files.left.contains(&host_file.path));
    }
    if let Some(tmpfiles) = &rendered.tmpfiles {
        let text = format!("{}{tmpfiles}", installation::tmpfiles_header(name));
        file(&mut out, &Path::new(TMPFILES).join(format!("{name}.conf")), &text);
    }
    let source = Path::new(ATTACHED).join(format!("{name}.json"));
    if registration.service {
        file(&mut out, &Path::new(STUBS).join(name.unit()), &body::stub(registration)?);
        file(&mut out, &Path::new(GENERATED).join(body::path(name)), &body::compose(registration, &source)?);
    }
    file(&mut out, &source, &registration.to_json());
    heading(
        &mut out,
        &format!("{} -> {}", deployments.directory().join(name.as_str()).display(), planned.deployment),
    );
    for step in steps(deployments, name, planned, enable) {
        heading(&mut out, &step);
    }
    Ok(out)
}

fn heading(out: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "# {text}");
}

fn file(out: &mut String, path: &Path, text: &str) {
    heading(out, &path.display().to_string());
    let _ = writeln!(out, "{}\n", text.trim_end());
}

fn describe(out: &mut String, file: &HostFile, is_ours: bool, is_left: bool) {
    let what = match &file.kind {
        Kind::Symlink(target) => format!("symlink to {}", target.display()),
        Kind::Directory => format!("directory, mode {:04o}, owner {}:{}", file.mode, file.uid, file.gid),
        _ => format!("mode {:04o}, owner {}:{}", file.mode, file.uid, file.gid),
    };
    if is_ours {
        heading(out, &format!("{}: {what}", file.path));
        if let Some(content) = &file.content {
            let _ = writeln!(out, "{}\n", content.trim_end());
        }
    } else if is_left {
        heading(out, &format!("{}: is on this host already, stays as it is", file.path));
    }
}

fn steps(deployments: &Deployments, name: &Name, planned: &Planned, enable: bool) -> Vec<String> {
    let root = deployments.root();
    let wanted = planned.content.rendered.unit.as_ref().is_some_and(|unit| unit.contains("[Install]"));
    let mut steps = Vec::new();
    if enable && wanted {
        steps.push(format!("systemctl enable {}", name.unit()));
    }
    if systemd::is_running(root) {
        steps.push("systemctl daemon-reload".into());
    }
    if planned.registration.tmpfiles && planned.registration.service && root.is_host() {
        steps.push(format!("systemd-tmpfiles --create {name}.conf"));
    }
    steps
}
