//! Who goes beside whom.

use roadstead_contracts::agent::RequestKind;

use super::*;

/// A change of what is in these namespaces; none: of something that is in no namespace.
fn within(rig: &Rig, cluster: ClusterId, namespaces: &[Option<&str>]) -> Record {
    let mut record = rig.record(cluster);
    let changes = namespaces.iter().map(|namespace| RequestKind::of("patch", "deployments.apps", *namespace));
    record.doc.changes = changes.collect();
    record
}

/// One cluster that is asked for a lot keeps no other waiting.
pub(super) async fn clusters_take_turns(rig: Rig) {
    let (busy, quiet): (ClusterId, ClusterId) = (rig.ids.next(), rig.ids.next());
    let in_namespace = |cluster: ClusterId, number: u32, priority: u8| {
        let mut record = within(&rig, cluster, &[Some(&format!("n-{number}"))]);
        record.doc.shown.priority = priority;
        record
    };
    for number in 0..20 {
        rig.make(in_namespace(busy, number, 5)).await;
    }
    let late = rig.make(in_namespace(quiet, 0, 5)).await.doc.shown.id;
    let urgent = rig.make(in_namespace(busy, 20, 9)).await.doc.shown.id;
    let two = Claim { most: 2, ..rig.claim(rig.ids.next()) };
    let first: BTreeSet<_> = rig.store.claim(&two).await.unwrap().iter().map(|record| record.doc.shown.id).collect();
    assert_eq!(first.len(), 2);
    assert!(first.contains(&urgent), "what is urgent goes first");
    assert!(first.contains(&late), "the cluster with less under way comes next, however late it asked");
    // Another replica goes on with the rest, and takes nothing twice.
    let rest = rig.store.claim(&Claim { most: 50, ..rig.claim(rig.ids.next()) }).await.unwrap();
    assert_eq!(rest.len(), 20);
    assert!(rest.iter().all(|record| !first.contains(&record.doc.shown.id)));
}

/// What changes several namespaces, or something that is in none, is of no lane alone: it waits for those before it in any,
/// and those behind it wait for it.
pub(super) async fn regression_no_change_overtakes_another_of_the_same_namespace(rig: Rig) {
    let cluster: ClusterId = rig.ids.next();
    let mut made = Vec::new();
    for namespaces in [
        &[Some("web")][..],
        &[Some("shop"), Some("shop")],
        &[Some("web"), Some("shop")],
        &[Some("web")],
        &[Some("db")],
        &[None],
    ] {
        made.push(rig.make(within(&rig, cluster, namespaces)).await.doc.shown.id);
    }
    // What only looks takes no turn.
    let mut look = within(&rig, cluster, &[Some("web"), None]);
    look.doc.shown.work = Work::Sync { namespace: None, correct: false };
    let look = rig.make(look).await.doc.shown.id;
    let holder: ReplicaId = rig.ids.next();
    let claimed = async || {
        let claimed = rig.store.claim(&rig.claim(holder)).await.unwrap();
        claimed.iter().map(|record| record.doc.shown.id).collect::<BTreeSet<_>>()
    };
    let done = async |id| {
        rig.take(id, Input::Dispatched).await;
        rig.take(id, Input::Ended(roadstead_contracts::operation::Ending::Succeeded)).await;
    };
    assert_eq!(claimed().await, BTreeSet::from([made[0], made[1], look]));
    let waited_for = rig.store.waited_for(made[3], 1).await.unwrap().map(|record| record.doc.shown.id);
    assert_eq!(waited_for, Some(made[0]));
    done(made[0]).await;
    assert_eq!(claimed().await, BTreeSet::new(), "both namespaces are to be free");
    let waited_for = rig.store.waited_for(made[2], 1).await.unwrap().map(|record| record.doc.shown.id);
    assert_eq!(waited_for, Some(made[1]));
    done(made[1]).await;
    assert_eq!(claimed().await, BTreeSet::from([made[2]]));
    done(made[2]).await;
    assert_eq!(claimed().await, BTreeSet::from([made[3], made[4]]), "side by side");
    done(made[3]).await;
    assert_eq!(claimed().await, BTreeSet::new());
    done(made[4]).await;
    assert_eq!(claimed().await, BTreeSet::from([made[5]]));
}
