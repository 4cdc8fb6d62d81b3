//! Declarations on hosts that are not as one would expect: units are masked, images are gone from the store, links and files are
//! those of another time.

use std::os::unix::fs::symlink;

use super::*;
use crate::install::recovery;
use crate::system::lock;

const MASK: &str = "/etc/systemd/system/web.service";
const TIMER: &str = "syscontainer-update@web.timer";

/// The same image of another name.
fn with_name(name: &str, (files, mut image): (Directory, Image)) -> (Directory, Image) {
    image.name = name.into();
    image.provenance.source = name.into();
    (files, image)
}

fn calls(declared: &Declared, call: &str) -> usize {
    declared.host.manager.calls.borrow().iter().filter(|made| *made == call).count()
}

/// A host with a unit file of the container, as `systemctl mask` makes it.
fn masked() -> Declared {
    let declared = one();
    let mask = declared.host.site.root().join(MASK);
    fs::create_dir_all(mask.parent().unwrap()).unwrap();
    symlink("/dev/null", &mask).unwrap();
    declared
}

fn unmask(declared: &Declared) {
    fs::remove_file(declared.host.site.root().join(MASK)).unwrap();
}

#[test]
fn what_is_masked_is_installed_and_enabled_when_it_is_not_masked_any_more() {
    let declared = masked();
    declared.declare("");
    let start = Scope { start: true, ..Scope::default() };
    assert_eq!(declared.apply_with(start).unwrap().action, Action::Installed);
    assert_eq!((declared.is_enabled(), declared.host.running()), (false, None));
    assert_eq!(declared.action(), Action::None);
    unmask(&declared);
    assert_eq!((declared.action(), declared.is_enabled()), (Action::Configured, true));
    assert!(declared.is_settled());
    assert_eq!(declared.action(), Action::None);
}

#[test]
fn a_mask_may_be_that_of_another_unit() {
    let declared = masked();
    declared.write("/usr/lib/systemd/system/web.service", "[Service]\n");
    declared.declare("");
    let error = declared.apply().unwrap_err().to_string();
    assert!(error.contains("/usr/lib/systemd/system/web.service is a unit of that name"), "{error}");
    // By hand, it is never known.
    let declared = masked();
    let error = declared.host.install(1).unwrap_err().to_string();
    assert!(error.contains("/etc/systemd/system/web.service is masked"), "{error}");
}

#[test]
fn a_mask_puts_off_a_change_of_enablement_once() {
    let declared = masked();
    declared.declare("Enable=no\n");
    declared.action();
    declared.declare("Enable=yes\n");
    assert_eq!((declared.action(), declared.is_enabled()), (Action::Configured, false));
    assert_eq!(declared.action(), Action::None);
    unmask(&declared);
    assert_eq!((declared.action(), declared.is_enabled()), (Action::Configured, true));
}

#[test]
fn the_store_may_have_lost_the_image() {
    // Version 1 was installed, and the store has version 2 only.
    let lost = || {
        let declared = Declared::new(|host| vec![host.image(2)]);
        declared.host.install(1).unwrap();
        declared.host.start();
        declared
    };
    let digest = |declared: &Declared| declared.info().digest();
    let declared = lost();
    declared.declare("Set=A=2\nHold=yes\n");
    let error = declared.apply().unwrap_err().to_string();
    assert!(
        error.contains("the store no longer has the image") && error.contains("updates are held"),
        "{error}"
    );
    assert_eq!(digest(&declared), Some(declared.host.image(1).1.digest));
    // Not even by the name of another image.
    declared.declare(&format!("{OTHER}Set=A=2\nHold=yes\n"));
    assert!(declared.apply().is_err());
    let declared = lost();
    declared.host.decide(&declared.host.deployment(1), Fate::Fails);
    declared.declare("Set=A=2\n");
    assert_eq!(declared.apply().unwrap_err().kind(), Kind::Reverted);
    assert_eq!(declared.host.running(), Some(0));
    declared.host.manager.decide(|_| Fate::Runs);
    declared.declare("Set=A=3\n");
    assert_eq!((declared.action(), declared.value("A").as_deref()), (Action::Updated, Some("3")));
    // What is as declared needs no image, and nothing is pulled for it.
    let declared = Declared::new(|_| Vec::new());
    declared.host.install(1).unwrap();
    declared.declare("");
    assert_eq!(declared.apply_pulling(Scope::default()).unwrap().action, Action::Adopted);
    let declared = Declared::new(|_| Vec::new());
    declared.host.preinstall(1).unwrap();
    declared.declare("");
    assert_eq!(declared.apply_pulling(Scope::default()).unwrap().action, Action::Adopted);
}

#[test]
fn a_dry_run_looks_for_no_newer_image() {
    let declared = one();
    declared.declare("Pull=always\n");
    declared.action();
    let dry_run = Scope { dry_run: true, ..Scope::default() };
    let done = declared.apply_pulling(dry_run).unwrap();
    assert_eq!(
        (done.action, done.message.as_str()),
        (Action::None, "is as declared; a newer image would be looked for")
    );
    declared.declare("Pull=always\nSet=A=2\n");
    assert_eq!(declared.apply_pulling(dry_run).unwrap().action, Action::Values);
}

#[test]
fn daily_updates_are_as_declared_whatever_was_done_by_hand() {
    let declared = one();
    let link = declared.host.site.root().join("/etc/systemd/system/timers.target.wants").join(TIMER);
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    let enable = || symlink("/usr/lib/systemd/system/syscontainer-update@.timer", &link).unwrap();
    enable();
    declared.host.install(1).unwrap();
    declared.declare("");
    declared.action();
    assert_eq!(calls(&declared, &format!("stop {TIMER}")), 1);
    fs::remove_file(&link).unwrap();
    declared.declare("AutoUpdate=yes\n");
    declared.action();
    enable();
    assert_eq!((declared.action(), calls(&declared, &format!("start {TIMER}"))), (Action::None, 1));
    // What was lost with /etc comes back with the unit, and so does what was declared of the unit.
    declared.declare("AutoUpdate=yes\nEnable=no\n");
    declared.action();
    let (site, name) = (&declared.host.site, &declared.host.name);
    for lost in ["/etc/systemd", "/etc/syscontainers/attached"] {
        fs::remove_dir_all(site.root().join(lost)).unwrap();
    }
    declared.host.manager.set_enablement(&[name.unit(), TIMER.into()], Enablement::Disable).unwrap();
    let before = calls(&declared, &format!("enablement {TIMER}"));
    {
        let _lock = lock::container(site.root(), name).unwrap();
        let _host_files = lock::host_files(site.root()).unwrap();
        assert!(recovery::recover(site, name).unwrap().created);
        recovery::enable(site, name).unwrap();
    }
    assert_eq!(calls(&declared, &format!("enablement {TIMER}")), before + 1);
    assert!(!declared.is_enabled());
}

#[test]
fn a_plain_container_gets_no_exports_after_a_reset_of_var() {
    let declared = Declared::new(|host| vec![host.plain_image(1, &[])]);
    declared.declare("");
    declared.action();
    let Declared { host, .. } = declared;
    fs::remove_dir_all(host.site.root().join("/var")).unwrap();
    let images = Rc::new(vec![host.image(2)]);
    let declared = Declared { host, images };
    let error = declared.apply().unwrap_err();
    assert_eq!(error.kind(), Kind::Unaccepted);
    let error = error.to_string();
    assert!(error.contains("Plain=yes") && error.contains("'syscontainer-remove web'"), "{error}");
    assert_eq!(declared.host.current(), None);
    let registration = derived::registration(&declared.host.name);
    fs::remove_file(declared.host.site.root().join(&registration)).unwrap();
    assert_eq!(declared.action(), Action::Installed);
}

#[test]
fn an_archive_that_a_package_replaces_is_looked_at_again() {
    const ARCHIVE: &str = "oci-archive:/usr/share/web.tar";
    let declared = Declared::new(|host| vec![with_name(ARCHIVE, host.image(1))]);
    declared.write("/usr/share/web.tar", "1");
    declared.write("/etc/syscontainers/web.conf", &format!("[Container]\nImage={ARCHIVE}\n"));
    assert_eq!((declared.action(), declared.action()), (Action::Installed, Action::None));
    assert!(declared.is_settled());
    let Declared { host, images } = declared;
    drop(images);
    let images = Rc::new(vec![with_name(ARCHIVE, host.image(1)), with_name(ARCHIVE, host.image(2))]);
    let declared = Declared { host, images };
    // It is not looked for what nobody replaced.
    assert_eq!(declared.action(), Action::None);
    declared.write("/usr/share/web.tar", "other");
    assert!(!declared.is_settled());
    assert_eq!((declared.action(), declared.action()), (Action::Updated, Action::None));
    assert_eq!(declared.info().digest(), Some(declared.host.image(2).1.digest));
    // One that was removed once it was pulled changes nothing.
    fs::remove_file(declared.host.site.root().join("/usr/share/web.tar")).unwrap();
    assert!([Action::None, Action::Configured].contains(&declared.action()));
}

#[test]
fn declarations_that_may_not_be_mounted_are_not_gone() {
    let declared = one();
    let site = &declared.host.site;
    declared.declare("");
    declared.action();
    fs::rename(site.root().join("/etc/syscontainers"), site.root().join("/elsewhere")).unwrap();
    assert!(gone::all(site).unwrap().is_empty());
    fs::rename(site.root().join("/elsewhere"), site.root().join("/etc/syscontainers")).unwrap();
    fs::remove_file(site.root().join("/etc/syscontainers/web.conf")).unwrap();
    assert_eq!(gone::all(site).unwrap().len(), 1);
    assert!(!gone::is_gone(site.root(), &declared.host.name, &"/media/x/web.conf".into()).unwrap());
}

#[test]
fn what_only_the_declaration_says_is_printed_too() {
    let declared = one();
    let text = "Pull=always\n\n[Unit]\nAfter=a.service\nAfter=b.service\n\n[Service]\nMemoryMax=1G\n";
    declared.declare(text);
    declared.action();
    let printed = print::print(&declared.host.site, &declared.host.name).unwrap();
    let tail = "Pull=always\n\n[Unit]\nAfter=a.service\nAfter=b.service\n\n[Service]\nMemoryMax=1G\n";
    assert!(printed.text.ends_with(tail) && printed.warnings.is_empty(), "{}", printed.text);
    declared.declare("Bad\n");
    let printed = print::print(&declared.host.site, &declared.host.name).unwrap();
    assert!(printed.warnings[0].contains("its declaration cannot be read"), "{:?}", printed.warnings);
}
