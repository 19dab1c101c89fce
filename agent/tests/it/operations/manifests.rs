//! Manifests of well-known kinds: applied, applied again, undone.

use std::path::PathBuf;

use futures_util::future::join_all;
use roadstead_contracts::operation::{ObjectOutcome, Work};

use super::rig::{Rig, Wish, apply};

fn files() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/manifests");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "yaml" || kind == "json"))
        .collect();
    files.sort();
    assert!(files.len() >= 10, "{files:?}");
    files
}

#[tokio::test]
#[ignore = "needs a cluster"]
async fn well_known_manifests_are_applied_kept_and_undone() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::real(folder.path()).await;
    join_all(files().iter().map(|file| round(&rig, file))).await;
}

async fn round(rig: &Rig, file: &std::path::Path) {
    let name = file.file_name().unwrap().to_str().unwrap();
    let body = roadstead_manifest::bundle([(name, std::fs::read(file).unwrap().as_slice())]);
    let count = roadstead_manifest::parse(&body).unwrap().len();

    // What would change is asked first, and changes nothing.
    let Work::Apply { namespace, prune, inventory, .. } = apply() else { panic!() };
    let dry = Work::Apply { namespace, dry_run: true, prune, inventory, force_conflicts: false, wait: false };
    let asked = rig.run(&Wish::new(dry, body.clone())).await;
    asked.succeeded();
    assert!(
        asked.results.iter().all(|result| result.outcome == ObjectOutcome::Created && result.diff.is_some()),
        "{name}: {asked:?}"
    );

    let first = rig.run(&Wish::new(apply(), body.clone())).await;
    first.succeeded();
    assert_eq!(first.results.len(), count, "{name}");
    assert!(
        first.outcomes().iter().all(|outcome| *outcome == ObjectOutcome::Created),
        "{name}: {:?}",
        first.outcomes()
    );
    assert!(first.results.iter().all(|result| result.source.starts_with(name)), "{name}");

    let again = rig.run(&Wish::new(apply(), body)).await;
    again.succeeded();
    let changed: Vec<_> = again.results.iter().filter(|result| result.outcome != ObjectOutcome::Unchanged).collect();
    assert!(changed.is_empty(), "{name}: {changed:?}");
    assert!(again.restores().is_empty());

    let undone = rig.undo(&first).await;
    undone.succeeded();
    assert_eq!(undone.results.len(), count, "{name}");
    // Some go with what they belong to.
    let gone = |outcome: &ObjectOutcome| matches!(outcome, ObjectOutcome::Deleted | ObjectOutcome::Absent);
    assert!(undone.outcomes().iter().all(gone), "{name}: {:?}", undone.outcomes());
    for result in &first.results {
        let left = rig.find(&result.key).await;
        assert!(left.is_none(), "{name}: {left:?}");
    }
}
