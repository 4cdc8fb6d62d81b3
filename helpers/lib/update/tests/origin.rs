//! Where updates come from.

use super::*;

#[test]
fn updates_come_from_where_the_container_came_from() {
    let host = plain();
    let from = |number, change: &dyn Fn(&mut Image)| {
        let mut image = host.plain_image(number, &[]);
        change(&mut image.1);
        image
    };
    let before = host.entries();
    for change in [
        &(|image: &mut Image| image.provenance.architecture = "s390x".into()) as &dyn Fn(&mut Image),
        &|image| image.provenance.source = "docker-archive:/tmp/x.tar".into(),
        &|image| image.provenance.transport = "docker-archive".into(),
    ] {
        let image = from(2, change);
        for error in [update(&host, &image, Wish::Accept), stage(&host, &image, Wish::AsBefore)] {
            let error = error.unwrap_err().to_string();
            assert!(
                error.contains("'syscontainer-pull --container=web'") && error.contains("--rebase="),
                "{error}"
            );
        }
        assert_eq!(host.entries(), before);
    }
    // Another scope of the policy is the host's decision.
    update(&host, &from(3, &|image| image.provenance.policy_scope = Some("default".into())), Wish::AsBefore)
        .unwrap();
    let rebase = Options { rebase: true, ..Options::default() };
    let other = from(4, &|image| image.provenance.source = "docker-archive:/tmp/x.tar".into());
    with_updater(&host, &other, &rebase, |updater| updater.update()).unwrap();
    let updates = Updates::of(&host.site.deployments, &host.name).unwrap();
    assert_eq!(updates.provenance.unwrap().source, "docker-archive:/tmp/x.tar");
    assert!(update(&host, &from(5, &|_| ()), Wish::AsBefore).is_err());
    // The same image for another architecture is another deployment, since updates of it differ.
    let other = |config: &str| {
        let config = config.to_owned();
        from(4, &move |image| {
            image.provenance.architecture = "s390x".into();
            image.config = image.config.replace("amd64", &config);
        })
    };
    let error = with_updater(&host, &other("riscv64"), &rebase, |updater| updater.update()).unwrap_err();
    assert!(error.to_string().contains("it is for the architecture \"riscv64\""), "{error}");
    let other = other("s390x");
    with_updater(&host, &other, &rebase, |updater| updater.update()).unwrap();
    assert_eq!(host.current(), Some(3));
}
