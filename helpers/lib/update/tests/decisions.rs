//! What was decided on a container, and what failed before.

use super::*;
use crate::container::state::Choices;

#[test]
fn what_failed_with_exports_may_work_without_and_is_not_used_with_them() {
    let host = TestHost::new();
    let image = |number| host.plain_image(number, &[(BROUGHT[5].0, BROUGHT[5].1)]);
    let state = || State::load(&host.site.deployments, &host.name).unwrap();
    let staged = || {
        let staged = state().staged(&host.site.deployments).cloned();
        staged.map(|staged| host.site.deployments.info(&staged).unwrap().ours().unwrap().exports)
    };
    host.install_image(&image(1), &Options::default()).unwrap();
    let fails = |choices: &Choices| {
        let mut failed = state();
        failed.remember(&image(2).1.digest, choices, "it died");
        failed.save(&host.site.deployments, &host.name).unwrap();
    };
    let plain = Choices { ignores_exports: true, ..Choices::none() };
    fails(&Choices::none());
    stage(&host, &image(2), Wish::AsBefore).unwrap();
    assert_eq!((staged(), state().ignores_exports), (None, false));
    stage(&host, &image(2), Wish::Ignore).unwrap();
    assert_eq!((staged(), state().ignores_exports), (Some(ExportsUse::Ignored), true));
    // Where nothing is made, the decision counts all the same, for what was staged before as well.
    stage(&host, &image(3), Wish::Accept).unwrap();
    assert_eq!((staged(), state().ignores_exports), (Some(ExportsUse::Accepted), false));
    fails(&plain);
    stage(&host, &image(2), Wish::Ignore).unwrap();
    assert_eq!((staged(), state().ignores_exports), (None, true));
    let updates = Updates::of(&host.site.deployments, &host.name).unwrap();
    assert_eq!(updates.prospect(&image(2).1.digest), Prospect::Failed("it died".to_owned()));
}

#[test]
fn what_is_ignored_stays_ignored_whatever_is_current() {
    let host = TestHost::new();
    let image = |number| host.plain_image(number, &[(BROUGHT[5].0, BROUGHT[5].1)]);
    let state = || State::load(&host.site.deployments, &host.name).unwrap();
    host.install_image(&image(1), &Options::default()).unwrap();
    let accepted = host.site.deployments.installed(&host.name).unwrap();
    update(&host, &image(1), Wish::Ignore).unwrap();
    assert!(state().ignores_exports && usage(&host) == ExportsUse::Ignored);
    let info = |deployment| host.site.deployments.info(deployment).unwrap();
    assert!(acceptance::is_overruled(&state(), &info(&accepted)));
    // As a revert does.
    host.site.deployments.switch(&accepted).unwrap();
    update(&host, &image(2), Wish::AsBefore).unwrap();
    assert_eq!((usage(&host), has_host_file(&host)), (ExportsUse::Ignored, false));
    stage(&host, &image(3), Wish::Accept).unwrap();
    assert!(!state().ignores_exports);
    stage(&host, &image(4), Wish::Ignore).unwrap();
    assert!(state().ignores_exports);
    // What is current is as wanted, and only the decision is new.
    host.site.deployments.switch(&accepted).unwrap();
    update(&host, &image(1), Wish::Accept).unwrap();
    assert!(!state().ignores_exports);
    assert_eq!(host.site.deployments.installed(&host.name).unwrap(), accepted);
}

#[test]
fn marks_of_images_stay() {
    let host = TestHost::new();
    let image = |number, manifest| host.plain_image(number, &[("exports/manifest.json", manifest)]);
    let marked = |host: &TestHost| {
        let current = host.site.deployments.installed(&host.name).unwrap();
        host.site.deployments.info(&current).unwrap().ours().unwrap().image_secrets.clone()
    };
    let user_values = Values::from([("TOKEN".to_owned(), "x".to_owned())]);
    let options = Options { user_values: user_values.clone(), ..Options::default() };
    let first = image(1, r#"{"secretValues": ["TOKEN", "OTHER"]}"#);
    host.install_image(&first, &options).unwrap();
    // The same command again completes it.
    host.install_image(&first, &options).unwrap();
    update(&host, &image(2, "{}"), Wish::AsBefore).unwrap();
    assert_eq!(marked(&host), ["TOKEN".to_owned()].into());
    let unset = Options { unset: ["TOKEN".to_owned()].into(), user_values, ..Options::default() };
    with_updater(&host, &image(3, "{}"), &unset, |updater| updater.update()).unwrap();
    assert!(marked(&host).is_empty());
}

#[test]
fn what_an_update_would_refuse_is_known_before() {
    let host = plain();
    let (files, mut image) = host.plain_image(2, &[("etc/file", "")]);
    image.config = image.config.replace(r#"{"Cmd""#, r#"{"WorkingDir":"/etc/file","Cmd""#);
    let updates = Updates::of(&host.site.deployments, &host.name).unwrap();
    let prospect = updates.prospect_of(&host.site, &host.name, &image, &files).unwrap();
    let error = stage(&host, &(files, image), Wish::AsBefore).unwrap_err().to_string();
    assert!(error.ends_with("its WorkingDir \"/etc/file\" is not a directory in it"), "{error}");
    assert_eq!((prospect.is_change(), prospect), (false, Prospect::Unusable(error)));
}

#[test]
fn only_what_is_set_can_be_unset() {
    let host = plain();
    let unset = |names: &[&str], set: &[&str]| {
        let values = set.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let options = Options { unset: names, user_values: values, ..Options::default() };
        let image = host.plain_image(1, &[]);
        with_updater(&host, &image, &options, |updater| updater.update()).map_err(|e| e.to_string())
    };
    let before = (host.derived(), host.entries());
    let none = "cannot unset NOSUCH: it is not set, and neither is any other variable";
    assert_eq!(unset(&["NOSUCH"], &["A"]).unwrap_err(), none);
    assert_eq!((host.derived(), host.entries()), before);
    unset(&[], &["A", "B"]).unwrap();
    let others = "cannot unset NOSUCH: it is not set; what is set: A, B";
    assert_eq!(unset(&["A", "NOSUCH"], &[]).unwrap_err(), others);
    let key = "cannot unset Device: it is a key, not a variable; use '-o AddDevice='";
    assert_eq!(unset(&["Device"], &[]).unwrap_err(), key);
    unset(&["A"], &[]).unwrap();
    assert_eq!(unset(&["A"], &[]).unwrap_err(), "cannot unset A: it is not set; what is set: B");
}

#[test]
fn a_mount_of_the_user_is_not_said_to_be_the_image_s() {
    let host = TestHost::new();
    let settings = vec!["Volume=/var/lib/containers/atomic:/m".parse().unwrap()];
    let options = Options { settings, ..Options::default() };
    let error = host.install_image(&host.plain_image(1, &[]), &options).unwrap_err().to_string();
    let expected = "cannot install registry.example/web:1: cannot mount /var/lib/containers/atomic at /m: it is in a deployment or the image store, whose files containers share, and would be writable; add the option ro to that Volume= or Mount=";
    assert_eq!(error, expected);
}
