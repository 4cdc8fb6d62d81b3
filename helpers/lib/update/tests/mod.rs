//! Updates of containers that are to stay plain, or where they come from, on a host in a temporary directory.

use std::fs;

use super::availability::{Prospect, Updates};
use super::updater::Updater;
use crate::container;
use crate::container::info::{ExportsUse, Values};
use crate::container::registration;
use crate::container::state::State;
use crate::container::{derived, info};
use crate::error::{Kind, Result};
use crate::image::Image;
use crate::image::exports::RUN_ONCE_LABEL;
use crate::image::tree::Directory;
use crate::install::acceptance::{self, Wish};
use crate::install::plan::{Options, Planner};
use crate::install::previous::Previous;
use crate::install::testing::TestHost;
use crate::system::lock;

mod decisions;
mod origin;
mod preinstalled;

/// Everything that an image can bring, and what it is called in messages.
const BROUGHT: [(&str, &str, &str); 6] = [
    (
        "exports/service.template",
        "[Service]\nExecStartPre=/bin/false\nExecStart=$EXEC_START\n",
        "service.template",
    ),
    ("exports/config.json", r#"{"root": {"path": "rootfs", "readonly": true}}"#, "config.json"),
    (
        "exports/config.json.template",
        r#"{"root": {"path": "rootfs", "readonly": true}}"#,
        "config.json.template",
    ),
    ("exports/tmpfiles.template", "d /srv/x - - - -", "tmpfiles.template"),
    // Whether it can be read does not matter.
    ("exports/manifest.json", "{", "manifest.json"),
    ("exports/hostfs/opt/version", "x", "hostfs"),
];

/// A container of a plain image, which runs.
fn plain() -> TestHost {
    let host = TestHost::new();
    host.install_image(&host.plain_image(1, &[]), &Options::default()).unwrap();
    host.start();
    host
}

fn wishing(exports: Wish) -> Options {
    Options { exports, ..Options::default() }
}

fn with_updater<T>(
    host: &TestHost,
    (tree, image): &(Directory, Image),
    options: &Options,
    work: impl FnOnce(&Updater) -> Result<T>,
) -> Result<T> {
    let _lock = lock::container(host.site.root(), &host.name)?;
    let _host_files = lock::host_files(host.site.root())?;
    let current = host.site.deployments.installed(&host.name)?;
    let previous = Previous::read(&host.site, &current, tree)?;
    let (site, name) = (&host.site, &host.name);
    let planner = Planner { site, tree, image, name, options, previous: Some(&previous) };
    work(&Updater { planner, previous: &previous })
}

fn update(host: &TestHost, image: &(Directory, Image), exports: Wish) -> Result<()> {
    with_updater(host, image, &wishing(exports), |updater| updater.update())
}

fn stage(host: &TestHost, image: &(Directory, Image), exports: Wish) -> Result<()> {
    with_updater(host, image, &wishing(exports), |updater| updater.stage(false))
}

fn usage(host: &TestHost) -> ExportsUse {
    let current = host.site.deployments.installed(&host.name).unwrap();
    host.site.deployments.info(&current).unwrap().ours().unwrap().exports
}

/// The unit and the host files that the container has now.
fn unit(host: &TestHost) -> String {
    let path = derived::registration(&host.name);
    registration::read(host.site.root(), &host.name, &path).unwrap().unwrap().unit.unwrap()
}

fn has_host_file(host: &TestHost) -> bool {
    host.site.root().join("/opt/version").exists()
}

#[test]
fn a_plain_container_gains_nothing_from_an_update() {
    for (path, content, called) in BROUGHT {
        let host = plain();
        let image = host.plain_image(2, &[(path, content)]);
        let before = (host.derived(), host.entries());
        let wish = wishing(Wish::AsBefore);
        for (error, command) in [
            (update(&host, &image, Wish::AsBefore), "--update"),
            (stage(&host, &image, Wish::AsBefore), "--update --stage"),
            (with_updater(&host, &image, &wish, |updater| updater.preview().map(|_| ())), "--update"),
            (
                with_updater(&host, &image, &wish, |updater| updater.preview_stage(true).map(|_| ())),
                "--update --stage",
            ),
        ] {
            let error = error.unwrap_err();
            assert_eq!(error.kind(), Kind::Unaccepted, "{path}");
            let error = error.to_string();
            assert!(
                error.contains(&format!("has exports/{called}, which web was installed without")),
                "{error}"
            );
            assert!(
                error.contains(&format!("'syscontainer-checkout {command} --accept-exports web'")),
                "{error}"
            );
        }
        assert_eq!((host.derived(), host.entries()), before, "{path}");
        let updates = Updates::of(&host.site.deployments, &host.name).unwrap();
        let prospect = updates.prospect_of(&host.site, &host.name, &image.1, &image.0).unwrap();
        assert!(updates.is_choosy() && matches!(prospect, Prospect::Unaccepted(_)), "{prospect}");
        assert_eq!((prospect.word(), prospect.is_change()), ("unaccepted", false));
    }
    let host = plain();
    update(
        &host,
        &host.plain_image(2, &[("exports/README", "x"), ("srv/exports/config.json", "{")]),
        Wish::AsBefore,
    )
    .unwrap();
    assert_eq!((host.current(), usage(&host)), (Some(1), ExportsUse::None));
}

/// An image with the label that makes containers run once.
fn run_once(host: &TestHost, number: u32) -> (Directory, Image) {
    let (tree, mut image) = host.plain_image(number, &[]);
    image.config = image.config.replace(r#"{"Cmd""#, r#"{"Labels":{"atomic.run":"once"},"Cmd""#);
    (tree, image)
}

#[test]
fn a_label_that_changes_how_a_container_runs_has_to_be_accepted_as_well() {
    let host = plain();
    let error = stage(&host, &run_once(&host, 2), Wish::AsBefore).unwrap_err();
    assert_eq!(error.kind(), Kind::Unaccepted);
    assert!(error.to_string().contains(&format!("has {RUN_ONCE_LABEL}")), "{error}");
    update(&host, &run_once(&host, 2), Wish::Accept).unwrap();
    let is_run_once = || {
        let current = host.site.deployments.installed(&host.name).unwrap();
        host.site.deployments.info(&current).unwrap().ours().unwrap().execution.run_once
    };
    assert!(is_run_once());
    update(&host, &run_once(&host, 3), Wish::AsBefore).unwrap();
    assert_eq!((host.current(), usage(&host)), (Some(2), ExportsUse::None));
    // Nor does it stop running once without a word.
    let other = host.plain_image(4, &[]);
    let error = stage(&host, &other, Wish::AsBefore).unwrap_err();
    assert_eq!(error.kind(), Kind::Unaccepted);
    assert!(error.to_string().contains("has no atomic.run=once, unlike the image that web was"), "{error}");
    let updates = Updates::of(&host.site.deployments, &host.name).unwrap();
    assert_eq!(
        updates.prospect_of(&host.site, &host.name, &other.1, &other.0).unwrap(),
        Prospect::Unaccepted(vec![acceptance::NOT_RUN_ONCE])
    );
    // It accepts no /exports.
    let error = update(&host, &host.image(4), Wish::AsBefore).unwrap_err();
    assert!(error.to_string().contains("exports/service.template"), "{error}");
    update(&host, &run_once(&host, 5), Wish::Ignore).unwrap();
    assert!(!is_run_once());
}

#[test]
fn what_was_accepted_stays_accepted_until_an_image_brings_nothing() {
    let host = plain();
    stage(&host, &host.image(2), Wish::Accept).unwrap();
    let staged = State::load(&host.site.deployments, &host.name).unwrap().staged.unwrap();
    assert_eq!(host.site.deployments.info(&staged).unwrap().ours().unwrap().exports, ExportsUse::Accepted);
    // By later updates, too, whether they are staged on top of that or made current.
    stage(&host, &host.image(3), Wish::AsBefore).unwrap();
    update(&host, &host.image(4), Wish::AsBefore).unwrap();
    assert_eq!(usage(&host), ExportsUse::Accepted);
    assert!(has_host_file(&host) && unit(&host).contains("multi-user.target"));
    update(&host, &host.plain_image(5, &[]), Wish::AsBefore).unwrap();
    assert_eq!((usage(&host), has_host_file(&host)), (ExportsUse::None, false));
    assert_eq!(update(&host, &host.image(6), Wish::AsBefore).unwrap_err().kind(), Kind::Unaccepted);
    assert!(!has_host_file(&host));
}

#[test]
fn exports_can_be_ignored_from_the_first_installation_on() {
    let host = TestHost::new();
    let image = |number| {
        let (path, content, _) = BROUGHT[0];
        let (hostfs, file, _) = BROUGHT[5];
        host.plain_image(number, &[(path, content), (hostfs, file), ("exports/config.json", "{")])
    };
    host.install_image(&image(1), &wishing(Wish::Ignore)).unwrap();
    let is_plain = || !has_host_file(&host) && !unit(&host).contains("/bin/false");
    assert!(is_plain());
    assert_eq!(usage(&host), ExportsUse::Ignored);
    // The same command again completes it, and another one is not the same.
    host.install_image(&image(1), &wishing(Wish::Ignore)).unwrap();
    assert!(host.install_image(&image(1), &Options::default()).is_err());
    update(&host, &image(2), Wish::AsBefore).unwrap();
    stage(&host, &image(3), Wish::AsBefore).unwrap();
    assert!(is_plain() && usage(&host) == ExportsUse::Ignored);
    // There is nothing to accept, and so it is as before.
    update(&host, &host.plain_image(4, &[]), Wish::Accept).unwrap();
    assert_eq!(usage(&host), ExportsUse::Ignored);
    // The image is the same, and its deployment is not.
    let (path, content, _) = BROUGHT[5];
    let brings_files = host.plain_image(5, &[(path, content)]);
    update(&host, &brings_files, Wish::AsBefore).unwrap();
    assert!(is_plain());
    update(&host, &brings_files, Wish::Accept).unwrap();
    assert!(has_host_file(&host) && usage(&host) == ExportsUse::Accepted);
    update(&host, &brings_files, Wish::Ignore).unwrap();
    assert!(is_plain() && usage(&host) == ExportsUse::Ignored);
    // Some images are nothing without.
    let error = update(&host, &host.image(6), Wish::AsBefore).unwrap_err().to_string();
    assert!(error.starts_with("cannot run registry.example/web:1 without its /exports: "), "{error}");
}

#[test]
fn an_info_without_our_keys_is_damaged_where_we_registered_it() {
    let host = plain();
    let path =
        host.site.deployments.path_of(&host.site.deployments.installed(&host.name).unwrap()).join(info::FILE);
    let mut value: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    value.as_object_mut().unwrap().remove("syscontainers");
    fs::write(&path, value.to_string()).unwrap();
    let error = update(&host, &host.image(2), Wish::AsBefore).unwrap_err().to_string();
    assert!(error.contains("is damaged"), "{error}");
    assert!(!has_host_file(&host));
}

#[test]
fn an_installation_accepts_what_there_is() {
    let host = TestHost::new();
    host.install(1).unwrap();
    assert_eq!(usage(&host), ExportsUse::Accepted);
    update(&host, &host.image(2), Wish::AsBefore).unwrap();
    assert_eq!(usage(&host), ExportsUse::Accepted);
}

#[test]
fn nothing_is_concluded_from_an_info_that_cannot_be_read() {
    let host = plain();
    let current = host.site.deployments.installed(&host.name).unwrap();
    let path = host.site.deployments.path_of(&current).join(info::FILE);
    let text = fs::read_to_string(&path).unwrap();
    let with = |key: &str, value: serde_json::Value| {
        let mut info: serde_json::Value = serde_json::from_str(&text).unwrap();
        info["syscontainers"][key] = value;
        info.to_string()
    };
    let damaged = ["{".to_owned(), with("exports", true.into()), with("version", 2.into())];
    for damaged in damaged {
        fs::write(&path, damaged).unwrap();
        let before = host.entries();
        update(&host, &host.image(2), Wish::AsBefore).unwrap_err();
        stage(&host, &host.image(2), Wish::Accept).unwrap_err();
        assert_eq!((host.entries(), has_host_file(&host)), (before, false));
    }
    // Without the record of it, nothing was accepted.
    let mut forgotten: serde_json::Value = serde_json::from_str(&text).unwrap();
    forgotten["syscontainers"].as_object_mut().unwrap().remove("exports");
    fs::write(&path, forgotten.to_string()).unwrap();
    assert_eq!(update(&host, &host.image(2), Wish::AsBefore).unwrap_err().kind(), Kind::Unaccepted);
}

#[test]
fn what_atomic_installed_has_exports_unless_its_files_show_that_it_has_none() {
    let host = TestHost::new();
    let deployment = host.deployment(0);
    let directory = host.site.deployments.path_of(&deployment);
    fs::create_dir_all(directory.join("rootfs/usr")).unwrap();
    fs::write(directory.join(info::FILE), r#"{"image": "web"}"#).unwrap();
    fs::write(directory.join("web.service"), "[Service]\nExecStart=/bin/true\n").unwrap();
    host.site.deployments.switch(&deployment).unwrap();
    let is_choosy = || Updates::of(&host.site.deployments, &host.name).unwrap().is_choosy();
    assert!(is_choosy());
    assert_eq!(update(&host, &host.image(2), Wish::AsBefore).unwrap_err().kind(), Kind::Unaccepted);
    fs::create_dir_all(directory.join("rootfs/exports")).unwrap();
    fs::write(directory.join("rootfs/exports/manifest.json"), "{}").unwrap();
    assert!(!is_choosy());
    fs::remove_dir_all(directory.join("rootfs")).unwrap();
    assert!(!is_choosy());
    update(&host, &host.image(2), Wish::AsBefore).unwrap();
    assert_eq!(usage(&host), ExportsUse::Accepted);
}

#[test]
fn categories_stay() {
    let host = plain();
    let categories = || {
        let current = host.site.deployments.installed(&host.name).unwrap();
        host.site.deployments.info(&current).unwrap().ours().unwrap().execution.categories
    };
    let chosen = categories().unwrap();
    let (_, registration) = registration::find(host.site.root(), &host.name).unwrap().unwrap();
    assert_eq!(registration.execution.categories, Some(chosen));
    // Others would be chosen now: another container has them.
    let mut other = registration;
    other.name = "app".parse().unwrap();
    other.deployment = "app.0".parse().unwrap();
    let path = host.site.root().join(&derived::registration(&other.name));
    fs::write(path, serde_json::to_string(&other).unwrap()).unwrap();
    assert_ne!(container::categories::choose(host.site.root(), &host.name), chosen);
    update(&host, &host.plain_image(2, &[]), Wish::AsBefore).unwrap();
    assert_eq!(categories(), Some(chosen));
}
