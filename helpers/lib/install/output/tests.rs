use super::*;
use std::os::unix::fs::symlink;

const TEXTS: [&str; 9] = [
    "exec >/dev/stderr",
    "ErrorLog /proc/self/fd/2\n",
    "access_log = /proc/1/fd/1",
    "log=/dev/fd/2;",
    "x >/proc/$$/fd/1",
    "out=/dev/std$1",
    "sed -e 's/x/\\/dev\\/stdout/'",
    "/proc/%d/fd/%d",
    "/fd/2",
];
const OTHER_TEXTS: [&str; 7] = [
    "echo x >&2",
    "cat /dev/stdin",
    "eval cmp /dev/fd/5 -",
    "/proc/self/fd/10 /proc/self/fd/20",
    "/dev/null /dev/std",
    "/fd/",
    "//f/d/e/dev",
];

#[test]
fn names_are_found_in_texts() {
    for text in TEXTS {
        for before in ["", "/", "//", "ab", "abc", "/d", "/f"] {
            assert!(Kind::Text.names_it(format!("{before}{text}").as_bytes()), "{before}{text}");
        }
    }
    for text in OTHER_TEXTS {
        assert!(!Kind::Text.names_it(text.as_bytes()), "{text}");
    }
}

#[test]
fn binaries_have_them_written_out() {
    for (bytes, wanted) in [
        ("\0/dev/stdout\0", true),
        ("\0/proc/self/fd/2", true),
        ("\0/proc/self/fd/%d\0", false),
        ("\0/dev/stdin\0/dev/fd/\0", false),
    ] {
        assert_eq!(Kind::of(bytes.as_bytes()).names_it(bytes.as_bytes()), wanted, "{bytes:?}");
    }
}

struct Image(tempfile::TempDir);

impl Image {
    fn with(files: &[(&str, &[u8])]) -> Image {
        let image = Image(tempfile::tempdir().unwrap());
        for (path, content) in files {
            let path = image.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        image
    }

    fn output(&self, config: &str, settings: &[&str]) -> Output {
        let mut decided = Settings::default();
        settings.iter().for_each(|setting| decided.assign(&setting.parse().unwrap()));
        let (settings, rootfs) = (&decided, Some(self.0.path()));
        Payload { settings, config, volumes: &[], rootfs }.output()
    }
}

#[test]
fn an_image_that_names_its_output_has_a_pipe() {
    let plain = Image::with(&[("bin/web", b"\x7fELF\0\0"), ("etc/web.conf", b"log = none")]);
    assert_eq!(plain.output("{}", &[]), Output::Journal);
    assert_eq!(plain.output(r#"["sh", "-c", "echo >/dev/stderr"]"#, &[]), Output::Pipe);
    assert_eq!(plain.output("{}", &["Output=pipe"]), Output::Pipe);
    let linked = Image::with(&[("var/log/x", b"")]);
    symlink("/dev/stdout", linked.0.path().join("var/log/access.log")).unwrap();
    assert_eq!(linked.output("{}", &[]), Output::Pipe);
    assert_eq!(linked.output("{}", &["Output=journal"]), Output::Journal);
    assert_eq!(linked.output("{}", &["Output=auto"]), Output::Pipe);
    // The name crosses the border of what is read at once.
    let mut large = vec![b'x'; OVERLAP + BLOCK - 5];
    large.extend(b"/dev/stderr");
    assert_eq!(Image::with(&[("entrypoint", &large)]).output("{}", &[]), Output::Pipe);
}

#[test]
fn what_no_payload_opens_does_not_count() {
    let elf = b"\x7fELF\0/dev/stdout\0";
    let tools = Image::with(&[
        ("usr/bin/mawk", elf),
        ("bin/busybox", elf),
        ("usr/share/doc/x", b">/dev/stdout"),
        ("usr/lib/x/README.md", b">/dev/stdout"),
        ("dev/x", b"/dev/stdout"),
    ]);
    symlink("/proc/self/fd/1", tools.0.path().join("dev/stdout")).unwrap();
    assert_eq!(tools.output("{}", &[]), Output::Journal);
    assert_eq!(Image::with(&[("opt/mawk", elf)]).output("{}", &[]), Output::Pipe);
}

#[test]
fn programs_count_wherever_they_are_and_whatever_they_are_called() {
    for path in ["usr/src/app/supervisord.conf", "usr/src/linux/x", "opt/run-1.8", "usr/sbin/php-fpm8.1"] {
        let image = Image::with(&[(path, b"logfile=/dev/stdout\n")]);
        assert_eq!(image.output("{}", &[]), Output::Pipe, "{path}");
    }
    // Nobody sees what is compressed in an archive that is run.
    for (path, wanted) in [
        ("app/server.jar", Output::Pipe),
        ("srv/shop.war", Output::Pipe),
        ("app/tool.pyz", Output::Pipe),
        ("app/photos.zip", Output::Journal),
        ("usr/share/doc/x/x.jar", Output::Journal),
    ] {
        assert_eq!(Image::with(&[(path, b"PK\x03\x04")]).output("{}", &[]), wanted, "{path}");
    }
}

#[test]
fn what_cannot_be_looked_at_counts() {
    let settings = Settings::default();
    let output = |rootfs: Option<&Path>, volumes: &[Volume]| {
        Payload { settings: &settings, config: "{}", volumes, rootfs }.output()
    };
    assert_eq!(output(None, &[]), Output::Pipe);
    assert_eq!(output(Some(Path::new("/nowhere")), &[]), Output::Pipe);
    let image = Image::with(&[]);
    let volume = |path: &str| Volume { destination: path.into(), owner: None };
    for (path, wanted) in
        [("/data", Output::Journal), ("/etc/haproxy", Output::Pipe), ("/app/Config", Output::Pipe)]
    {
        assert_eq!(output(Some(image.0.path()), &[volume(path)]), wanted, "{path}");
    }
}
