//! What failed before, and what is done about it.

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
    let plain = Choices { ignores_exports: true, ..Choices::default() };
    fails(&Choices::default());
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
