use super::*;
use ostree::RepoMode;

#[test]
fn layers_have_a_limited_number_of_entries() {
    let dir = tempfile::tempdir().unwrap();
    let repo = ostree::Repo::new_for_path(dir.path().join("repo"));
    repo.create(RepoMode::BareUserOnly, NEVER).unwrap();
    repo.prepare_transaction(NEVER).unwrap();
    let replaced = Replaced::default();
    let mut builder = Builder::new(&repo, None, &replaced).unwrap();
    let member = |path: &str| Member {
        kind: EntryType::Regular,
        path: path.into(),
        target: Vec::new(),
        uid: 0,
        gid: 0,
        mode: 0o644,
        size: 0,
        mtime: Default::default(),
        xattrs: Default::default(),
    };
    builder.entries = limits::ENTRIES_OF_LAYER - 3;
    builder.add(&member("a"), &mut std::io::empty()).unwrap();
    // Two, with the directory that has no member.
    builder.add(&member("b/c"), &mut std::io::empty()).unwrap();
    let error = builder.add(&member("d"), &mut std::io::empty()).unwrap_err().to_string();
    assert!(error.contains("more than 1000000 files and directories"), "{error}");
    builder.entries = limits::ENTRIES_OF_LAYER - 1;
    assert!(builder.add(&member("e/f"), &mut std::io::empty()).is_err());
}
