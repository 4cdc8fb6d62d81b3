//! Declarations that are applied to a host in a temporary directory.

use std::fs;
use std::path::Path;
use std::rc::Rc;

use super::carry_out::{Applier, Scope};
use super::fetch::Fetch;
use super::gone;
use super::images::Images;
use super::print;
use super::row::{Action, Done};
use super::select::{self, Operand};
use crate::commit::Commit;
use crate::container::registration;
use crate::container::state::State;
use crate::container::{derived, info};
use crate::declaration::files;
use crate::error::{Error, Kind, Result};
use crate::image::Image;
use crate::image::tree::{Directory, Tree};
use crate::install::plan::Options;
use crate::install::testing::TestHost;
use crate::system::lock::Lock;
use crate::system::systemd::fake::Fate;
use crate::system::systemd::manager::{Enablement, Manager};

mod circumstances;
mod killed;
mod preinstalled;
mod trees;

/// Images in directories, of which the last one that has a name is the one of that name.
struct Local(Rc<Vec<(Directory, Image)>>);

impl Images for Local {
    fn named(&self, name: &str) -> Result<Option<Image>> {
        Ok(self.0.iter().rev().find(|(_, image)| image.name == name).map(|(_, image)| image.clone()))
    }

    fn of_commit(&self, name: &str, commit: &Commit) -> Result<Option<Image>> {
        let is_it = |image: &Image| image.name == name && image.commit == *commit;
        Ok(self.0.iter().find(|(_, image)| is_it(image)).map(|(_, image)| image.clone()))
    }

    fn files<'a>(&'a self, image: &'a Image) -> Result<Box<dyn Tree + 'a>> {
        let found = self.0.iter().find(|(_, other)| other.commit == image.commit);
        let (files, _) = found.ok_or_else(|| Error::new("there is no such image"))?;
        Ok(Box::new(files as &dyn Tree))
    }

    fn lock(&self) -> Result<Option<Lock>> {
        Ok(None)
    }
}

/// A host, with the images in its store.
struct Declared {
    host: TestHost,
    images: Rc<Vec<(Directory, Image)>>,
}

impl Declared {
    /// A host whose store has these images.
    fn new(images: impl FnOnce(&TestHost) -> Vec<(Directory, Image)>) -> Declared {
        let host = TestHost::new();
        let images = Rc::new(images(&host));
        Declared { host, images }
    }

    /// Writes the declaration of the container.
    fn declare(&self, text: &str) {
        self.write(
            "/etc/syscontainers/web.conf",
            &format!("[Container]\nImage=registry.example/web:1\n{text}"),
        );
    }

    fn write(&self, path: &'static str, text: &str) {
        let path = self.host.site.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn apply_with(&self, scope: Scope) -> Result<Done> {
        self.apply_pulling(Scope { no_pull: true, ..scope })
    }

    /// The same, with pulls, all of which fail.
    fn apply_pulling(&self, scope: Scope) -> Result<Done> {
        let (root, name) = (self.host.site.root(), &self.host.name);
        let source = files::find(root, name)?.ok_or_else(|| Error::not_found("it is not declared"))?;
        let declaration = files::read(root, name, &source)?;
        let fetch = Fetch { root, repo: None, is_patient: false, quiet: true };
        let images = || Ok(Box::new(Local(self.images.clone())) as Box<dyn Images>);
        Applier { site: &self.host.site, fetch, scope }.apply(&declaration, images)
    }

    fn apply(&self) -> Result<Done> {
        self.apply_with(Scope::default())
    }

    /// What was done: the action in one word.
    fn action(&self) -> Action {
        self.apply().unwrap().action
    }

    fn state(&self) -> State {
        State::load(&self.host.site.deployments, &self.host.name).unwrap()
    }

    fn info(&self) -> info::Info {
        let current = self.host.site.deployments.installed(&self.host.name).unwrap();
        self.host.site.deployments.info(&current).unwrap()
    }

    fn value(&self, variable: &str) -> Option<String> {
        self.info().ours().unwrap().user_values.get(variable).cloned()
    }

    fn is_enabled(&self) -> bool {
        self.host.manager.is_enabled(&self.host.name).unwrap()
    }

    /// Whether the generator finds nothing to be done.
    fn is_settled(&self) -> bool {
        let (root, name) = (self.host.site.root(), &self.host.name);
        let path = derived::registration(name);
        let registered = registration::read(root, name, &path).unwrap().unwrap().declared;
        let source = files::find(root, name).unwrap().unwrap();
        registered == Some(files::read(root, name, &source).unwrap().digest())
    }
}

/// A host whose store has one image.
fn one() -> Declared {
    Declared::new(|host| vec![host.image(1)])
}

/// A second image, under another name.
fn other(host: &TestHost, number: u32) -> (Directory, Image) {
    let (files, mut image) = host.image(number);
    image.name = "registry.example/other:1".into();
    image.provenance.source = concat!("docker://", "registry.example/other:1").into();
    (files, image)
}

const OTHER: &str = "Image=registry.example/other:1\n";

#[test]
fn a_container_is_installed_once_and_has_what_is_declared() {
    let declared = one();
    declared.declare("Set=A=2\nLabel=x=y\nKeep=3\nSoakSec=5\n[Install]\nWantedBy=other.target\n");
    assert_eq!(
        declared.apply_with(Scope { dry_run: true, ..Scope::default() }).unwrap().action,
        Action::Installed
    );
    assert_eq!(declared.host.current(), None);
    assert_eq!(declared.action(), Action::Installed);
    assert!(declared.is_enabled() && declared.is_settled());
    assert_eq!(declared.value("A").as_deref(), Some("2"));
    let state = declared.state();
    assert_eq!((state.keep, state.soak), (Some(3), Some(5)));
    let stub =
        fs::read_to_string(declared.host.site.root().join(&derived::stub(&declared.host.name))).unwrap();
    assert!(stub.contains("WantedBy=multi-user.target\nWantedBy=other.target\n"), "{stub}");
    let before = (declared.host.derived(), declared.host.entries());
    let calls = declared.host.manager.calls.borrow().len();
    assert_eq!(declared.action(), Action::None);
    assert_eq!((declared.host.derived(), declared.host.entries()), before);
    assert_eq!(declared.host.manager.calls.borrow().len(), calls);
}

#[test]
fn what_is_not_declared_is_reset_also_if_it_was_set_by_hand() {
    let declared = one();
    let settings = vec!["Label=x=y".parse().unwrap()];
    let user_values = [("A".to_owned(), "9".to_owned())].into();
    let options = Options { settings, user_values, no_enable: true, ..Options::default() };
    declared.host.install_image(&declared.host.image(1), &options).unwrap();
    declared.declare("");
    assert_eq!(declared.action(), Action::Values);
    let ours = declared.info().ours().unwrap().clone();
    assert!(ours.user_values.is_empty() && ours.settings.is_empty());
    // It was not declared when it was installed.
    assert!(!declared.is_enabled() && declared.is_settled());
    declared.declare("Enable=yes\n");
    assert_eq!((declared.action(), declared.is_enabled()), (Action::Configured, true));
    declared.declare("Enable=no\n");
    assert_eq!((declared.action(), declared.is_enabled()), (Action::Configured, false));
    assert_eq!(declared.action(), Action::None);
}

#[test]
fn what_was_installed_by_hand_is_adopted() {
    let declared = one();
    declared.host.install(1).unwrap();
    declared.declare("");
    assert_eq!((declared.action(), declared.action()), (Action::Adopted, Action::None));
    assert!(declared.is_settled());
}

#[test]
fn values_bring_no_other_image_and_only_pull_always_brings_a_newer_one() {
    let declared = Declared::new(|host| vec![host.image(1), host.image(2)]);
    declared.host.install(1).unwrap();
    let digest = |number: u32| Some(declared.host.image(number).1.digest);
    declared.declare("Set=A=2\n");
    assert_eq!((declared.action(), declared.info().digest()), (Action::Values, digest(1)));
    declared.declare("Pull=always\nHold=yes\n");
    assert_eq!((declared.action(), declared.info().digest()), (Action::Values, digest(1)));
    declared.declare("Pull=always\n");
    assert_eq!((declared.action(), declared.info().digest()), (Action::Updated, digest(2)));
    assert_eq!(declared.action(), Action::None);
}

#[test]
fn another_image_is_watched_and_what_failed_is_not_tried_again() {
    let declared = Declared::new(|host| vec![host.image(1), other(host, 2)]);
    let host = &declared.host;
    declared.declare("");
    declared.action();
    host.start();
    host.decide(&host.deployment(1), Fate::Fails);
    declared.declare(OTHER);
    for attempt in 0..2 {
        let error = declared.apply().unwrap_err();
        assert_eq!((error.kind(), host.running()), (Kind::Reverted, Some(0)), "{attempt}: {error}");
        assert!(!declared.is_settled());
    }
    // With other values, it may work.
    host.manager.decide(|_| Fate::Runs);
    declared.declare(&format!("{OTHER}Set=A=2\n"));
    assert_eq!(declared.action(), Action::Updated);
    assert!(host.running() == host.current() && declared.is_settled());
    assert_eq!(declared.info().image, "registry.example/other:1");
}

#[test]
fn a_held_container_keeps_its_image() {
    let declared = Declared::new(|host| vec![host.image(1), other(host, 2)]);
    declared.declare("");
    declared.action();
    declared.declare(&format!("{OTHER}Hold=yes\nSet=A=2\n"));
    let done = declared.apply().unwrap();
    assert!(done.action == Action::Values && done.message.contains("updates are held"), "{}", done.message);
    assert_eq!(declared.info().image, "registry.example/web:1");
    assert!(declared.state().hold && declared.is_settled());
    declared.declare(&format!("{OTHER}Set=A=2\n"));
    assert_eq!((declared.action(), declared.state().hold), (Action::Updated, false));
}

#[test]
fn a_package_follows_presets_and_what_is_on_the_host_goes_before() {
    for (is_enabled, text) in [(true, ""), (false, ""), (true, "Enable=yes\n"), (false, "Enable=no\n")] {
        let declared = one();
        if !is_enabled || !text.is_empty() {
            declared.host.manager.disabled_by_preset.borrow_mut().push(declared.host.name.unit());
        }
        let text = format!("[Container]\nImage=registry.example/web:1\n{text}");
        declared.write("/usr/lib/syscontainers/web.conf", &text);
        assert_eq!((declared.action(), declared.is_enabled()), (Action::Installed, is_enabled), "{text}");
        assert_eq!(declared.action(), Action::None);
    }
}

#[test]
fn what_is_installed_again_after_a_reset_of_var_is_as_enabled_as_it_was() {
    for (before, text, after) in [(false, "", false), (true, "", true), (false, "Enable=yes\n", true)] {
        let declared = one();
        let Declared { host, .. } = &declared;
        declared.declare("");
        declared.action();
        let verb = if before { Enablement::Enable } else { Enablement::Disable };
        host.manager.set_enablement(&[host.name.unit()], verb).unwrap();
        fs::remove_dir_all(host.site.root().join("/var")).unwrap();
        declared.declare(text);
        assert_eq!((declared.action(), declared.is_enabled()), (Action::Installed, after), "{before} {text}");
        assert!(declared.is_settled());
        assert_eq!(declared.action(), Action::None);
    }
}

#[test]
fn a_secret_value_comes_from_a_file_and_counts_when_that_changes() {
    let declared = one();
    declared.write("/etc/pw", "one\n");
    declared.declare("SetFile=A=/etc/pw\n");
    declared.action();
    assert_eq!((declared.value("A").as_deref(), declared.action()), (Some("one"), Action::None));
    declared.write("/etc/pw", "two\n");
    assert_eq!((declared.action(), declared.value("A").as_deref()), (Action::Values, Some("two")));
    fs::remove_file(declared.host.site.root().join("/etc/pw")).unwrap();
    let error = declared.apply().unwrap_err().to_string();
    assert!(error.starts_with("cannot read the value of A from "), "{error}");
}

#[test]
fn what_was_installed_is_started_if_it_is_enabled() {
    for (text, expected) in [("", Some(0)), ("Enable=no\n", None)] {
        let declared = one();
        declared.declare(text);
        declared.apply_with(Scope { start: true, ..Scope::default() }).unwrap();
        assert_eq!(declared.host.running(), expected);
        // Whoever stops it wants that.
        declared
            .host
            .manager
            .queue(crate::system::systemd::manager::Verb::Stop, &["web.service".into()])
            .unwrap();
        declared.apply_with(Scope { start: true, ..Scope::default() }).unwrap();
        assert_eq!(declared.host.running(), None);
    }
}

#[test]
fn a_declaration_that_is_gone_takes_nothing_along() {
    let declared = one();
    let (site, name) = (&declared.host.site, &declared.host.name);
    declared.host.install(1).unwrap();
    assert!(gone::all(site).unwrap().is_empty());
    declared.declare("");
    declared.action();
    assert!(gone::all(site).unwrap().is_empty());
    let path = site.root().join("/etc/syscontainers/web.conf");
    fs::write(&path, "").unwrap();
    assert_eq!(gone::all(site).unwrap().len(), 1);
    fs::remove_file(&path).unwrap();
    assert_eq!(gone::all(site).unwrap(), [(name.clone(), "/etc/syscontainers/web.conf".into())]);
    gone::remove(site, name).unwrap();
    assert_eq!(declared.host.current(), None);
    // It may be declared again, and then it is no other's any more.
    declared.declare("");
    assert_eq!(declared.action(), Action::Installed);
    gone::remove(site, name).unwrap();
    assert_eq!(declared.host.current(), Some(0));
}

#[test]
fn what_is_printed_gives_the_same_container_again() {
    let declared = one();
    let text =
        "Set=A=100% of it\nLabel=x=y\nKeep=3\nSoakSec=5\nHold=yes\nEnable=no\n\n[Install]\nAlias=w.service\n";
    declared.declare(&text.replace('%', "%%"));
    declared.action();
    let printed = print::print(&declared.host.site, &declared.host.name).unwrap();
    assert!(printed.warnings.is_empty(), "{:?}", printed.warnings);
    let again = one();
    again.write("/etc/syscontainers/web.conf", &printed.text);
    assert_eq!(again.action(), Action::Installed);
    let ours = |of: &Declared| {
        let ours = of.info().ours().unwrap().clone();
        (ours.user_values, ours.settings, ours.user_install, ours.enabled, of.state().keep, of.state().soak)
    };
    assert_eq!(ours(&again), ours(&declared));
    declared.write("/etc/syscontainers/web.conf", &printed.text);
    assert!([Action::None, Action::Configured].contains(&declared.action()));
}
