use super::*;
use crate::quadlet::key::{Fate, OTHERS};
use crate::quadlet::keys::KEYS;
use crate::steps;

const IMAGE: &str = "[Container]\nImage=quay.io/x/y:1\n";

/// What becomes of a file with this name, and a volume beside it.
fn converted_as(name: &str, text: &str) -> Conversion {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("data.volume"), "[Volume]\nVolumeName=x\n").unwrap();
    std::fs::write(directory.path().join("disk.volume"), "[Volume]\nDevice=/dev/sda\n").unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    convert(&[Quadlet::read(&path).unwrap()]).remove(0)
}

fn converted(lines: &str) -> Conversion {
    converted_as("web.container", &format!("{IMAGE}{lines}\n"))
}

/// The lines of the declaration that are there because of these.
fn carried(lines: &str) -> Vec<String> {
    let (with, without) = (converted(lines), converted(""));
    assert!(!with.is_refused(), "{lines}: {:?}", with.remarks);
    let old: Vec<&str> = without.text.lines().collect();
    with.text.lines().filter(|line| !old.contains(line)).map(str::to_owned).collect()
}

/// Why this is refused, without the place.
fn refused(lines: &str) -> String {
    let conversion = converted(lines);
    let mut remarks = conversion.remarks.iter().filter(|remark| remark.matters);
    let remark = remarks.next().unwrap_or_else(|| panic!("{lines} is not refused:\n{}", conversion.text));
    assert!(remark.text.contains("web.container:"), "{remark}");
    remark.text.split_once(": cannot carry over ").unwrap().1.to_owned()
}

/// A value of each key that what the table says is true of.
fn sample(key: &Key) -> &'static str {
    match (key.section, key.name) {
        (Section::Container, name) => match name {
            "AddCapability" | "DropCapability" => "CAP_CHOWN net_raw",
            "AddDevice" => "/dev/fuse",
            "AutoUpdate" => "registry",
            "EnvironmentFile" | "WorkingDir" => "/x",
            "Entrypoint" => "",
            "Environment" | "Label" | "Annotation" => "A=1 \"B=2 3\"",
            "EnvironmentHost" | "RunInit" | "SecurityLabelDisable" | "SecurityLabelNested" | "Notify" => {
                "yes"
            }
            "Image" => "localhost/x",
            "Memory" => "2g",
            "Mount" => "type=tmpfs,destination=/x",
            "Network" => "none",
            "NoNewPrivileges" | "ReadOnly" | "VolatileTmp" => "true",
            "PidsLimit" => "100",
            "PublishPort" => "8080:80",
            "Pull" => "newer",
            "ReadOnlyTmpfs" => "no\nReadOnly=yes",
            "ReloadSignal" | "StopSignal" => "SIGHUP",
            "ServiceName" => "other",
            "ShmSize" => "64m",
            "StopTimeout" => "20",
            "Timezone" => "Europe/Berlin",
            "Tmpfs" => "/x:size=1m",
            "Ulimit" => "nofile=1:2",
            "Volume" => "/a:/b",
            "Group" => "1\nUser=1",
            _ => "x",
        },
        (Section::Quadlet, _) => "no",
        (Section::Unit, "After" | "Before" | "BindsTo" | "Conflicts" | "PartOf") => "web.container",
        (Section::Unit, _) => "web.container",
        (Section::Service, "Type") => "oneshot",
        (Section::Service, "KillMode") => "control-group",
        (Section::Service, "DynamicUser") => "yes",
        (Section::Install, _) => "a.target",
        _ => "x",
    }
}

#[test]
fn each_key_becomes_what_the_table_says() {
    for key in KEYS {
        let name = if key.name == OTHERS { "Xyz" } else { key.name };
        let header = key.section.header().replace("...", "x");
        let line = format!("{header}\n{name}={}", sample(key));
        // Only a template has a default instance.
        let file = if key.name == "DefaultInstance" { "web@.container" } else { "web.container" };
        let of = |line: &str| converted_as(file, &format!("{IMAGE}{line}\n"));
        let (with, without) = (of(&line), of(""));
        let is_same = with.text == without.text
            && with.name == without.name
            && with.default_instance == without.default_instance;
        match key.fate {
            Fate::Carried | Fate::Translated => {
                assert!(!with.is_refused() && !is_same, "{line}: {:?}\n{}", with.remarks, with.text);
            }
            Fate::Dropped => {
                assert!(
                    !with.is_refused() && is_same && with.remarks.len() == 1,
                    "{line}: {:?}",
                    with.remarks
                );
            }
            Fate::Refused => assert!(with.is_refused(), "{line}: {:?}", with.remarks),
        }
    }
}

#[test]
fn the_table_is_sorted_and_has_each_key_once() {
    let of = |section| KEYS.iter().filter(move |key| key.section == section).map(|key| key.name);
    for section in [Section::Container, Section::Unit, Section::Service, Section::Install] {
        let names: Vec<&str> = of(section).filter(|name| *name != OTHERS).collect();
        let mut sorted = names.clone();
        sorted.sort_by_key(|name| name.to_ascii_lowercase());
        sorted.dedup();
        assert_eq!(names, sorted);
    }
}

#[test]
fn values_are_written_as_declarations_have_them() {
    for (lines, expected) in [
        ("Exec=a 'b  c' \"d\\\"e\" \\110i $$x", "Exec=a \"b  c\" \"d\\\"e\" Hi $x"),
        ("Entrypoint=[\"a\", \"b c\"]", "Entrypoint=[\"a\", \"b c\"]"),
        ("Entrypoint=/x", "Entrypoint=/x"),
        ("Entrypoint=a b", "Entrypoint=[\"a b\"]"),
        ("Label=a \"b=c d\"", "Label=a= \"b=c d\""),
        ("Label=io.containers.autoupdate=registry", "AutoUpdate=yes Label=io.containers.autoupdate=registry"),
        ("HostName=\"x.y\"", "HostName=x.y"),
        ("User=a\nUser=b", "User=b"),
        ("ReadOnly=ON", "ReadOnly=yes"),
        ("WorkingDir=%t/%N", "WorkingDir=/run/%N"),
        ("AddDevice=-/dev/kvm /dev/fuse:rw", "AddDevice=-/dev/kvm AddDevice=/dev/fuse:rw"),
        ("Volume=/a:/b:ro,z", "Volume=/a:/b:ro"),
        ("Volume=data:/b:Z", "Volume=/b"),
        ("Volume=data.volume:/b", "Volume=/b"),
        ("Mount=type=bind,src=/a,dst=/b,relabel=shared,ro", "Mount=type=bind,source=/a,destination=/b,ro"),
        ("Mount=type=volume,source=data,target=/b", "Volume=/b"),
        ("Network=ns:/run/netns/x", "Network=ns:/run/netns/x"),
        ("PublishPort=80:80/tcp", ""),
        ("PublishPort=0.0.0.0:81:80\nNetwork=host", "Network=host"),
        ("Volume=/a:/b\nVolume=\nVolume=/c:/d", "Volume=/c:/d"),
        ("Pod=x\nPod=", ""),
        ("[Service]\nExecReload=/x\nExecReload=\nExecReload=/y", "ExecReload=/y"),
        ("[Service]\nType=notify", ""),
        ("[Service]\nRestart=always", "[Service] Restart=always RestartSec=100ms"),
    ] {
        let found = carried(lines).join(" ");
        let expected = if lines.contains("Restart") { &expected["[Service] ".len()..] } else { expected };
        let found = if found == "[Service]" { "" } else { &found };
        assert_eq!(found, expected, "{lines}");
    }
}

#[test]
fn what_declarations_cannot_say_is_refused() {
    for (lines, expected) in [
        ("Exec=a \"b", "Exec=: a quote \" is not closed"),
        ("Exec=echo $HOME", "Exec=: with podman, systemd replaces the variable"),
        ("Environment=A=${B}", "Environment=: with podman"),
        ("Environment=A", "Environment=: a name without a value"),
        ("Environment=A=%H", "Environment=: declarations have no specifier %H"),
        ("HostName=%i", "HostName=: it is empty"),
        ("ReadOnly=y", "ReadOnly=: it is neither yes nor no"),
        ("Image=x", "Image=: which registry"),
        ("Image=r.io/a//b", "Image=: a part of the name is empty"),
        ("Image=docker://r.io/x@sha256:1", "Image=: invalid digest"),
        ("Image=x.image", "Image=: it is made by another quadlet"),
        ("Network=podman", "Network=: there are no networks with names"),
        ("PublishPort=127.0.0.1:80:80", "PublishPort=: with the host's network, the payload itself"),
        ("PublishPort=80:80\nNetwork=none", "PublishPort=: only with the host's network"),
        ("Volume=data:/b:ro", "Volume=: a volume of the container's own has no option ro"),
        ("Volume=data:/b\nVolume=data:/c", "Volume=: the volume data is mounted at several places"),
        ("Volume=none.volume:/b", "Volume=: there is no none.volume beside the file"),
        ("Volume=$x:/b", "Volume=: with podman, systemd replaces"),
        ("Volume=data-%H:/b", "Volume=: declarations have no specifier %H"),
        ("Volume=/a:/b:U", "Volume=: U would change the owner"),
        ("Mount=type=image,source=x,destination=/y", "Mount=: mounts of type image are not supported"),
        ("Annotation=run.oci.handler=krun", "Annotation=: runtimes act on it"),
        ("Notify=healthy", "Notify=: there are no health checks"),
        ("publishport=1", "publishport=: there is no such key in [Container]; did you mean PublishPort=?"),
        ("Group=1", "Group=: without User="),
        ("StopTimeout=0", "StopTimeout=: a payload needs time to end"),
        ("[Unit]\nAfter=x.pod", "After=: there is no unit for x.pod"),
        ("[Unit]\nAfter=x.container", "After=: there is no x.container beside the file"),
        ("[Service]\nExecStartPost=-/usr/bin/podman exec x", "ExecStartPost=: podman does not know"),
        ("[Service]\nKillMode=none", "KillMode=: expected mixed"),
        ("[Quadlet]\nX=1", "X=: there is no such key in [Quadlet]"),
    ] {
        let found = refused(lines);
        assert!(found.starts_with(expected), "{lines}: {found}");
    }
    let found = refused("Volume=disk.volume:/b");
    assert!(found.contains("disk.volume:2: Device= decides what is in the volume"), "{found}");
}

#[test]
fn what_is_refused_is_a_comment_where_it_was() {
    let conversion = converted("Pod=x.pod\n[Service]\nUser=1");
    let expected =
        "# Not carried over: Pod=x.pod\nPlain=yes\nEnable=no\n\n[Service]\n# Not carried over: User=1\n";
    assert!(conversion.text.contains(expected), "{}", conversion.text);
}

#[test]
fn defaults_of_podman_are_written_down() {
    let text = converted("[Install]\nWantedBy=x.target").text;
    let (_, text) = text.split_once('\n').unwrap();
    let expected = "\n[Unit]\nWants=network-online.target\nAfter=network-online.target\n\n[Container]\n\
                    Image=quay.io/x/y:1\nPlain=yes\n\n[Service]\nRestart=no\n\n[Install]\nWantedBy=\nWantedBy=x.target\n";
    assert_eq!(text, expected);
    let text = converted("[Quadlet]\nDefaultDependencies=false").text;
    assert!(!text.contains("[Unit]") && text.contains("Enable=no\n"), "{text}");
    assert!(converted("").uses_default_network && !converted("Network=host").uses_default_network);
}

#[test]
fn templates_stay_templates() {
    let text = format!(
        "{IMAGE}Exec=sleep %i\nVolume=data-%i:/x\n[Install]\nDefaultInstance=10\nWantedBy=a.target\n"
    );
    let conversion = converted_as("sleep@.container", &text);
    assert_eq!((conversion.name.as_str(), conversion.default_instance.as_deref()), ("sleep@", Some("10")));
    assert!(conversion.text.contains("\nExec=sleep %i\n") && !conversion.is_refused(), "{}", conversion.text);
    let shared = converted_as("sleep@.container", &format!("{IMAGE}Volume=data:/x\n"));
    assert!(shared.remarks[0].text.contains("instances share the volume data"));
    assert!(!converted_as("sleep@10.container", &text).is_refused());
    assert!(converted_as("sleep@10.container", &format!("{IMAGE}Volume=data:/x\n")).is_refused());
    assert!(converted_as("a b.container", IMAGE).is_refused());
    assert!(converted_as("a@.container", &text.replace("=10", "=../x")).is_refused());
}

#[test]
fn quadlets_refer_to_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let read = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, format!("{IMAGE}{text}\n")).unwrap();
        Quadlet::read(&path).unwrap()
    };
    let web = read("web.container", "Volume=data:/x\n[Unit]\nRequires=db.container x.service");
    let db = read("db.container", "ServiceName=base\nVolume=data:/y");
    let alone = convert(std::slice::from_ref(&web)).remove(0);
    assert!(alone.text.contains("\nRequires=base.service x.service\n"), "{}", alone.text);
    assert!(!alone.is_refused());
    let both = convert(&[web, db]);
    assert!(both.iter().all(|conversion| conversion.remarks[0].text.contains("at several places")));
    assert!(both[0].text.contains("\nRequires=base.service x.service\n"));
    let same = convert(&[read("a.container", "ServiceName=c"), read("b.container", "ServiceName=c")]);
    assert!(
        same.iter().all(|conversion| conversion.remarks[0].text.contains("another file makes c.service"))
    );
}

/// Whatever a quadlet says, nothing of it adds a line to the declaration.
#[test]
fn values_add_no_lines() {
    const PARTS: [&str; 28] = [
        "Exec=",
        "Volume=",
        "Environment=",
        "Label=",
        "AddDevice=",
        "Mount=",
        "Entrypoint=",
        "Image=",
        "\n",
        "\n",
        "\\n",
        "\\x0a",
        "\\",
        "\"",
        "'",
        "%",
        "%i",
        "$",
        " ",
        ":",
        ",",
        "=",
        "/a",
        "b",
        "#",
        "\n[Service]\nExecReload=",
        "\n[Unit]\nAfter=",
        "\n[Container]\n",
    ];
    let mut state = 5u64;
    let mut next = |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    let mut tried = 0;
    for _ in 0..20_000 {
        let text: String = (0..next(16)).map(|_| PARTS[next(PARTS.len())]).collect();
        let Ok(entries) = syntax::parse(&format!("{IMAGE}{text}"), "x") else { continue };
        let entries = syntax::Entries::new(entries);
        let (path, directory, stem) = ("x\ny.container".into(), "/x".into(), "x".to_owned());
        let quadlet = Quadlet { path, directory, stem, entries, is_private: false };
        let conversion = convert(&[quadlet]).remove(0);
        for line in conversion.text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let is_header = line.starts_with('[') && line.ends_with(']');
            let key = line.split('=').next().unwrap();
            let is_key = line.contains('=') && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            assert!((is_header || is_key) && !line.ends_with('\\'), "{text:?}: {line:?}");
            let known = ["Plain", "Enable", "Wants", "After", "Restart", "Volume"];
            assert!(
                is_header || known.contains(&key) || text.contains(key) || IMAGE.contains(key),
                "{text:?}"
            );
        }
        tried += 1;
    }
    assert!(tried > 2000, "{tried}");
}

/// However many lines, words and sections there are, and whatever becomes of them.
#[test]
fn every_line_is_looked_at_once() {
    for (what, line) in [
        ("values", "Environment=A=N"),
        ("values that are replaced", "User=N"),
        ("ports", "PublishPort=N:1"),
        ("volumes", "Volume=N:/x"),
        ("volumes of files", "Volume=N.volume:/x"),
        ("dependencies", "[Unit]\nAfter=N.container"),
        ("sections", "[X-N]\na=N"),
    ] {
        steps::assert_linear(what, |size| {
            let lines: String =
                (0..size).map(|n| format!("{}\n", line.replace('N', &n.to_string()))).collect();
            assert_eq!(convert(&[quadlet(&lines)]).len(), 1);
        });
    }
    for key in ["AddDevice", "Mount"] {
        steps::assert_linear("words that are refused", |size| {
            let conversion = convert(&[quadlet(&format!("{key}={}\n", "x ".repeat(size)))]).remove(0);
            assert_eq!(conversion.remarks.len(), size);
            assert_eq!(conversion.text.matches("# Not carried over").count(), 1);
        });
    }
}

fn quadlet(lines: &str) -> Quadlet {
    let entries = syntax::Entries::new(syntax::parse(&format!("{IMAGE}{lines}"), "x").unwrap());
    let (path, directory, stem) = ("x.container".into(), "/nowhere".into(), "x".to_owned());
    Quadlet { path, directory, stem, entries, is_private: false }
}
