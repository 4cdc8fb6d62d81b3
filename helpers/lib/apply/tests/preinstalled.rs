//! Declarations of containers that came with the operating system.

use super::*;

/// A host whose system has version 1, and whose store has another image.
fn host() -> Declared {
    let declared = Declared::new(|host| vec![other(host, 2)]);
    declared.host.preinstall(1).unwrap();
    declared
}

#[test]
fn it_is_adopted_as_it_is_and_stays_when_its_declaration_is_gone() {
    let declared = host();
    let site = &declared.host.site;
    declared.declare("");
    assert_eq!((declared.action(), declared.action()), (Action::Adopted, Action::None));
    assert_eq!(declared.host.current(), Some(0));
    fs::remove_file(site.root().join("/etc/syscontainers/web.conf")).unwrap();
    assert_eq!(gone::all(site).unwrap().len(), 1);
    gone::remove(site, &declared.host.name).unwrap();
    assert_eq!((declared.host.current(), gone::all(site).unwrap().len()), (Some(0), 0));
}

#[test]
fn another_image_is_an_update_in_var_and_goes_with_its_declaration() {
    let declared = host();
    let site = &declared.host.site;
    declared.host.start();
    declared.declare(OTHER);
    assert_eq!((declared.action(), declared.action()), (Action::Updated, Action::None));
    assert_eq!((declared.host.current(), declared.host.running()), (Some(1), Some(1)));
    assert!(declared.is_settled());
    fs::remove_file(site.root().join("/etc/syscontainers/web.conf")).unwrap();
    gone::remove(site, &declared.host.name).unwrap();
    assert_eq!(declared.host.current(), Some(0));
}
