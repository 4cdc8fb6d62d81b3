//! Updates of containers that came with the operating system.

use super::*;
use crate::container::stale;
use crate::container::state::Purpose;
use crate::install::{recovery, remover};
use crate::name::Deployment;
use crate::paths::TreePath;
use crate::system::kill_point::testing::kill_after;
use crate::system::systemd::manager::Manager;
use crate::update::retention::{self, Use};
use crate::update::switcher::Switcher;

/// A host whose system has version 1, which runs.
fn host() -> TestHost {
    let host = TestHost::new();
    host.preinstall(1).unwrap();
    host.start();
    host
}

fn to(host: &TestHost, number: u32) {
    update(host, &host.image(number), Wish::AsBefore).unwrap();
}

fn switch(host: &TestHost, target: u32) -> Result<()> {
    let _lock = lock::container(host.site.root(), &host.name)?;
    let current = host.site.deployments.installed(&host.name)?;
    let purpose = Purpose::Rollback("by hand".into());
    Switcher { site: &host.site, name: &host.name }.switch(&current, &host.deployment(target), purpose, None)
}

fn remove(host: &TestHost) -> Result<()> {
    let _lock = lock::container(host.site.root(), &host.name)?;
    let host_files = lock::host_files(host.site.root())?;
    let removed = remover::remove(&host.site, &host.name, remover::Options::default())?;
    drop(host_files);
    remover::finish(&host.site, &host.name, &removed.purged)
}

/// What a boot does before services are started.
fn boot(host: &TestHost) {
    host.manager.reboot();
    let _ = fs::remove_dir_all(host.site.root().join("/run"));
    let found = recovery::find(&host.site.deployments).unwrap();
    assert!(found.names.contains(&host.name));
    {
        let _lock = lock::container(host.site.root(), &host.name).unwrap();
        Switcher { site: &host.site, name: &host.name }.recover_at_boot().unwrap();
    }
    let done = recovery::reconcile(&host.site, &host.name, &found).unwrap();
    if done.created {
        recovery::enable(&host.site, &host.name).unwrap();
    }
    assert!(stale::read(host.site.root(), &host.name).is_none());
}

fn recover(host: &TestHost) {
    let _lock = lock::container(host.site.root(), &host.name).unwrap();
    Switcher { site: &host.site, name: &host.name }.recover().unwrap();
}

/// Fails unless everything is that of the current deployment, and the system's own is as it was.
fn check(host: &TestHost, when: &str) {
    let (_, registration) = registration::find(host.site.root(), &host.name).unwrap().unwrap();
    let current = host.site.deployments.installed(&host.name).unwrap();
    assert_eq!(registration.deployment, current, "{when}");
    assert_eq!(registration.is_preinstalled(), current.number() == 0, "{when}");
    if current.number() == 0 {
        assert_eq!(host.derived(), Vec::<String>::new(), "{when}");
    } else {
        assert_eq!(host.derived().len(), 3, "{when}");
    }
    assert!(host.manager.is_enabled(&host.name).unwrap(), "{when}");
    let own = host.site.root().join("/usr/lib/containers/atomic/web.0/info");
    assert!(own.exists(), "{when}");
    assert!(
        retention::of_container(&host.site, &host.name).unwrap().iter().all(|(_, used)| used.is_some()),
        "{when}"
    );
}

fn uses(host: &TestHost) -> Vec<(Deployment, Option<Use>)> {
    retention::of_container(&host.site, &host.name).unwrap()
}

#[test]
fn an_update_wins_and_the_way_back_leads_to_the_system() {
    let host = host();
    to(&host, 2);
    check(&host, "updated");
    assert_eq!(
        (host.current(), host.entries()),
        (Some(1), vec![".web.state".into(), "web".into(), "web.1".to_owned()])
    );
    let path = derived::registration(&host.name);
    let registration = registration::read(host.site.root(), &host.name, &path).unwrap().unwrap();
    assert_eq!(registration.link().as_path(), std::path::Path::new("/var/lib/containers/atomic/web"));
    assert_eq!(
        uses(&host),
        [(host.deployment(0), Some(Use::Previous)), (host.deployment(1), Some(Use::Current))]
    );
    switch(&host, 0).unwrap();
    check(&host, "rolled back");
    assert_eq!((host.current(), host.running(), has_host_file(&host)), (Some(0), Some(0), false));
    assert_eq!(
        uses(&host),
        [(host.deployment(0), Some(Use::Current)), (host.deployment(1), Some(Use::Previous))]
    );
    recover(&host);
    boot(&host);
    assert_eq!((host.current(), host.entries()), (Some(0), vec![".web.state".into(), "web.1".to_owned()]));
    switch(&host, 1).unwrap();
    check(&host, "rolled forward");
    assert_eq!((host.current(), has_host_file(&host)), (Some(1), true));
    for number in 3..5 {
        to(&host, number);
        check(&host, "updated again");
    }
    assert_eq!(uses(&host).first(), Some(&(host.deployment(0), Some(Use::System))));
    remove(&host).unwrap();
    check(&host, "removed");
    assert_eq!((host.current(), host.entries(), has_host_file(&host)), (Some(0), vec![], false));
    assert!(remove(&host).unwrap_err().to_string().contains("systemctl mask"));
}

#[test]
fn a_reset_leads_back_to_the_system_unless_an_update_is_in_var() {
    let host = host();
    let reset = |paths: &[&str]| {
        for path in paths {
            fs::remove_dir_all(host.site.root().join(&TreePath::new(path))).unwrap();
        }
    };
    to(&host, 2);
    // Which host files are the container's, only its deployments know.
    reset(&["/var", "/opt"]);
    boot(&host);
    check(&host, "/var was emptied");
    assert_eq!(host.current(), Some(0));
    host.site.deployments.create().unwrap();
    to(&host, 2);
    let before = host.derived();
    reset(&["/etc"]);
    boot(&host);
    check(&host, "/etc was emptied");
    assert_eq!((host.current(), host.derived()), (Some(1), before));
    reset(&["/etc", "/var", "/opt"]);
    boot(&host);
    check(&host, "both were emptied");
    assert_eq!(host.current(), Some(0));
}

/// What is done to a host.
type Work = fn(&TestHost);

#[test]
fn whatever_is_killed_leaves_the_old_one_or_the_new_one() {
    let works: [(&str, Work, Work); 4] = [
        ("update", |_| {}, |host| to(host, 2)),
        ("rollback", |host| to(host, 2), |host| drop(switch(host, 0))),
        (
            "forward",
            |host| {
                to(host, 2);
                switch(host, 0).unwrap();
            },
            |host| drop(switch(host, 1)),
        ),
        ("removal", |host| to(host, 2), |host| remove(host).unwrap()),
    ];
    for (what, before, work) in works {
        for after in [recover, boot] {
            let mut steps = 0;
            loop {
                let host = host();
                before(&host);
                let is_done = kill_after(steps, || work(&host)).is_some();
                after(&host);
                check(&host, &format!("{what}, killed after step {steps}"));
                if is_done {
                    break;
                }
                steps += 1;
            }
            assert!(steps > 5, "{what}: {steps} steps");
        }
    }
}

#[test]
fn an_update_without_a_service_is_refused() {
    let host = host();
    let error = update(&host, &host.image_without_service(2), Wish::AsBefore).unwrap_err().to_string();
    assert!(error.contains("has no service"), "{error}");
    check(&host, "refused");
}

#[test]
fn what_was_installed_before_the_system_brought_it_stays() {
    let host = TestHost::new();
    host.install(2).unwrap();
    let hidden = TestHost::new();
    hidden.preinstall(1).unwrap();
    let usr = "/usr/lib/containers";
    let (from, to) = (hidden.site.root().join(usr), host.site.root().join(usr));
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::rename(from, to).unwrap();
    assert!(host.site.deployments.of_system(&host.name).is_none());
    boot(&host);
    assert_eq!(host.current(), Some(0));
    host.check_consistent();
}
