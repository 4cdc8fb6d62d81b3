//! Pulls from registries that go quiet, drip, or send more or less than they say: the real program and the real skopeo,
//! with and without a policy that has to be enforced. The story 85-registry uses the same registry for units.

#![cfg(feature = "store")]
#![allow(clippy::unwrap_used)]

#[path = "store/host.rs"]
#[allow(dead_code)]
mod host;
#[path = "store/layout.rs"]
#[allow(dead_code)]
mod layout;
#[path = "registry/server.rs"]
mod server;

use std::fs;
use std::process::Command;
use std::time::Duration;

use host::{Host, Outcome};
use layout::{Layer, Layout, dir, file, tar};
use server::{Behaviour, Server};

/// Allows all images, with and without a rule for others that makes skopeo enforce the policy.
const POLICIES: [&str; 2] = [
    r#"{"default": [{"type": "insecureAcceptAnything"}]}"#,
    r#"{"default": [{"type": "insecureAcceptAnything"}],
        "transports": {"docker": {"elsewhere.invalid": [{"type": "reject"}]}}}"#,
];

fn noise(size: usize) -> Vec<u8> {
    let mut state = 7u64;
    let next = |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as u8
    };
    (0..size).map(next).collect()
}

fn pull(host: &Host, image: &str, policy: usize, options: &[&str]) -> Command {
    let file = host.path(&format!("policy{policy}.json"));
    fs::write(&file, POLICIES[policy]).unwrap();
    let mut command = host.command(image);
    command.args(["--quiet", "--tls-verify=false"]).arg(format!("--policy={}", file.display())).args(options);
    command
}

/// Pulls what must be refused, with one line; no skopeo is left, and the store has neither image nor temporary files.
fn refuse(host: &Host, image: &str, policy: usize, options: &[&str], cause: &str) -> Outcome {
    let case = format!("{image} under policy {policy}");
    let outcome = host.run(pull(host, image, policy, options));
    assert_eq!(outcome.status, Some(1), "{case}: {outcome:?}");
    assert!(outcome.stderr.contains(cause) && outcome.stderr.lines().count() == 1, "{case}: {outcome:?}");
    assert_eq!(skopeos_of(image), Vec::<String>::new(), "{case}");
    let left = fs::read_dir(host.repo().join("tmp")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("syscontainers-")).collect();
    assert!(left.is_empty(), "{case}: {left:?}");
    assert!(!host.ostree(&["refs"]).contains("latest"), "{case}");
    outcome
}

/// Command lines of skopeo that have to do with an image, or that are an image proxy of this process's children.
fn skopeos_of(image: &str) -> Vec<String> {
    let processes =
        fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    let lines = processes.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.starts_with("skopeo ") && line.contains(image)).collect()
}

#[test]
fn sources_that_go_quiet_or_drip_are_given_up_on() {
    let Some(host) = Host::new() else { return };
    let server = Server::new("127.0.0.1:0");
    let layout = Layout::new([Layer::plain(&tar(&[file("noise", noise(200_000))]))]);
    for (name, behaviour, cause) in [
        ("quiet", Behaviour::Quiet, "arrived"),
        ("drip", Behaviour::Drip, "arrived"),
        ("manifest", Behaviour::QuietManifest, "arrived"),
        ("config", Behaviour::QuietConfig, "arrived"),
    ] {
        let image = server.put(name, behaviour, &layout);
        for policy in 0..2 {
            let outcome = refuse(&host, &image, policy, &["--idle-timeout=1s"], cause);
            assert!(outcome.stderr.contains("--idle-timeout="), "{outcome:?}");
        }
    }
    // All of it would be there by then, but for the rate.
    assert!(server.count("manifests") > 0);
    let image = server.put("check", Behaviour::QuietManifest, &layout);
    let outcome = host.run(pull(&host, &image, 0, &["--idle-timeout=1s", "--check"]));
    assert!(outcome.status == Some(1) && outcome.stderr.contains("arrived"), "{outcome:?}");
    host.fsck();
}

#[test]
fn slow_but_honest_sources_are_waited_for() {
    let Some(host) = Host::new() else { return };
    let server = Server::new("127.0.0.1:0");
    // Several times as long as nothing may arrive.
    let layout = Layout::new([Layer::plain(&tar(&[file("noise", noise(60_000))]))]);
    for policy in 0..2 {
        let image = server.put(&format!("slow{policy}"), Behaviour::Slow, &layout);
        let outcome = host.run(pull(&host, &image, policy, &["--idle-timeout=1s"]));
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
    }
    host.fsck();
}

#[test]
fn blobs_have_the_size_that_the_manifest_declares() {
    let Some(host) = Host::new() else { return };
    let server = Server::new("127.0.0.1:0");
    let small = Layer::plain(&tar(&[file("noise", noise(200_000))]));
    let packed = Layer::of(&[file("noise", noise(200_000))]);
    for (name, layer) in [("plain", &small), ("packed", &packed)] {
        let layout = Layout::new([layer.clone()]);
        let image = server.put(&format!("endless-{name}"), Behaviour::Endless, &layout);
        refuse(&host, &image, 0, &[], "more bytes than the");
        refuse(&host, &image, 1, &[], "more bytes than the manifest declares");
        let image = server.put(&format!("short-{name}"), Behaviour::Short, &layout);
        for policy in 0..2 {
            refuse(&host, &image, policy, &[], "cannot");
        }
    }
    host.fsck();
}

#[test]
fn the_same_layer_is_fetched_once() {
    let Some(host) = Host::new() else { return };
    let server = Server::new("127.0.0.1:0");
    for policy in 0..2 {
        // Not the same for both, since the store keeps layers.
        let layer = Layer::of(&[file(format!("a{policy}"), noise(50_000 + policy))]);
        let between = Layer::of(&[dir("between"), file(format!("b{policy}"), "b")]);
        let mut layers = vec![layer.clone(); 20];
        layers.insert(10, between);
        let image = server.put(&format!("same{policy}"), Behaviour::Honest, &Layout::new(layers));
        let outcome = host.run(pull(&host, &image, policy, &["--json"]));
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
        assert!(outcome.stdout.contains("\"layers-fetched\": 2,"), "{outcome:?}");
        assert!(outcome.stdout.contains("\"layers-reused\": 19,"), "{outcome:?}");
        assert_eq!(server.count(&layer.digest), 1, "policy {policy}");
        let root = host.checkout(&image);
        assert_eq!(fs::read_to_string(root.join(format!("b{policy}"))).unwrap(), "b");
        assert!(root.join("between").is_dir() && root.join(format!("a{policy}")).is_file());
    }
    host.fsck();
}

#[test]
fn images_that_ask_for_too_much_are_refused_before_anything_is_fetched() {
    let Some(host) = Host::new() else { return };
    let server = Server::new("127.0.0.1:0");
    let layer = Layer::of(&[file("a", "a")]);
    let layout = Layout::new(vec![layer.clone(); 501]);
    let huge = Layer { declared: Some(1 << 62), ..layer.clone() };
    let both = Layer { declared: Some(u64::MAX / 2), digest: layout::digest(b"other"), ..layer.clone() };
    for (name, layout, cause) in [
        ("many", layout, "it has 501 layers, more than 500"),
        ("huge", Layout::new([huge.clone()]), "nothing was fetched"),
        ("overflow", Layout::new([huge, both.clone(), both]), "nothing was fetched"),
    ] {
        let image = server.put(name, Behaviour::Honest, &layout);
        for policy in 0..2 {
            refuse(&host, &image, policy, &[], cause);
        }
    }
    assert_eq!(server.count(&layer.digest), 0);
    assert_eq!(server.count(&layout::digest(b"other")), 0);
}

#[test]
fn archives_are_not_much_larger_than_their_blobs() {
    let Some(host) = Host::new() else { return };
    let server = Server::new("127.0.0.1:0");
    // 3 GiB of zeros behind the archive, which nothing else would stop.
    let whole = tar(&[file("a", "a")]);
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    std::io::Write::write_all(&mut encoder, &whole).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 3 << 30), &mut encoder).unwrap();
    let bomb = Layer::packed(&whole, encoder.finish().unwrap());
    let image = server.put("bomb", Behaviour::Honest, &Layout::new([bomb]));
    refuse(&host, &image, 0, &[], "when unpacked, from a blob of");
}

#[test]
fn what_skopeo_says_has_no_credentials() {
    let Some(host) = Host::new() else { return };
    let server = Server::new("127.0.0.1:0");
    let layout = Layout::new([Layer::of(&[file("a", "a")])]);
    for policy in 0..2 {
        let image = server.put(&format!("redirect{policy}"), Behaviour::Redirect, &layout);
        let outcome = host.run(pull(&host, &image, policy, &[]));
        assert!(outcome.status == Some(1) && outcome.stderr.contains("127.0.0.1:3"), "{outcome:?}");
        assert!(!outcome.stderr.contains("s3cret"), "{outcome:?}");
    }
    for image in [
        "docker://user:s3cret@host.invalid/x",
        "user:s3cret@host.invalid/x",
        "docker://s3cret@host.invalid/x",
    ] {
        for program in [
            env!("CARGO_BIN_EXE_syscontainer-pull"),
            env!("CARGO_BIN_EXE_syscontainer-lint"),
            env!("CARGO_BIN_EXE_syscontainer-checkout"),
            env!("CARGO_BIN_EXE_syscontainer-images"),
            env!("CARGO_BIN_EXE_syscontainer-prune"),
        ] {
            for more in [None, Some("another"), Some("--bad=user:s3cret@host.invalid/x")] {
                let mut command = Command::new(program);
                command.arg(format!("--root={}", host.path("canary").display())).arg(image).args(more);
                let outcome = host.run(command);
                assert!(outcome.status != Some(0), "{program} {image}: {outcome:?}");
                let text = format!("{}{}", outcome.stdout, outcome.stderr);
                assert!(!text.contains("s3cret"), "{program} {image} {more:?}: {text}");
            }
        }
    }
}

/// Not a test: the registry of the story, which runs until it is killed.
#[test]
fn serve_the_story() {
    let Ok(address) = std::env::var("SYSCONTAINERS_TEST_SERVE") else { return };
    let server = Server::new(&address);
    for name in ["app", "other"] {
        let layer = Layer::plain(&tar(&[file("version", name), file("noise", noise(3_000_000))]));
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": { "Entrypoint": ["/nothing"] },
            "rootfs": { "type": "layers", "diff_ids": [&layer.diff_id] },
        });
        let layout = Layout { config: Some(config.to_string()), ..Layout::new([layer]) };
        server.put(name, Behaviour::Honest, &layout);
    }
    println!("serving on {address}");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
