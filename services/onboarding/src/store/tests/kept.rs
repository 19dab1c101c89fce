//! Connections of clusters that are reached without an agent of their own, and recorded sessions.

use std::collections::BTreeSet;

use roadstead_contracts::message::ConnectionLimits;
use roadstead_contracts::names::Namespace;

use super::super::{KeptRecording, Leased, NewConnection, NewRecording, Rights};
use super::*;

pub(super) async fn connections_are_kept_and_leased(rig: Rig) {
    let (store, ids) = (&rig.store, &rig.ids);
    let new = NewCluster { mode: ClusterMode::Direct, ..rig.new_cluster("far", Labels::default()) };
    let rights = Rights { profile: RightsProfile::Namespaced, namespaces: vec![Namespace::parse("shop").unwrap()] };
    let connection = |sealed: &str, agent: AgentId| NewConnection {
        agent,
        endpoint: "https://10.0.0.1:6443".to_owned(),
        limits: ConnectionLimits { qps: 7.5, burst: 3, timeout_seconds: 9 },
        sealed: sealed.to_owned(),
    };
    let agent: AgentId = ids.next();
    let made = store.connect_cluster(&new, &connection("one", agent), &rights, &rig.message()).await.unwrap();
    assert_eq!((made.cluster.mode, made.cluster.agent_id), (ClusterMode::Direct, Some(agent)));
    assert_eq!(made.cluster.endpoint.as_deref(), Some("https://10.0.0.1:6443"));
    let again = NewCluster { id: ids.next(), ..new.clone() };
    let taken = store.connect_cluster(&again, &connection("x", ids.next()), &rights, &rig.change()).await;
    assert!(taken.unwrap_err().is_conflict("clusters_name_key"));
    assert!(store.connection(again.id).await.unwrap().is_none(), "what was refused left nothing");
    let kept = store.connection(new.id).await.unwrap().unwrap();
    assert_eq!((kept.agent, kept.sealed.as_str(), kept.revision), (agent, "one", 1));
    assert_eq!((kept.limits.qps, kept.limits.burst, kept.limits.timeout_seconds, kept.rights), (7.5, 3, 9, rights));

    // One replica at a time hosts it; new credentials show in the revision.
    let (one, two): (ReplicaId, ReplicaId) = (ids.next(), ids.next());
    // Both databases' clocks count: PostgreSQL's own, SQLite's is the caller's.
    let lease = |replica, after: i64, length: i64| {
        let (store, now) = (Arc::clone(&rig.store), rig.now + TimeDelta::seconds(after));
        async move { store.lease_connections(replica, now, now + TimeDelta::seconds(length), 16).await.unwrap() }
    };
    let held = |revision| vec![Leased { cluster: new.id, agent, revision }];
    assert_eq!(lease(one, 0, 60).await, held(1));
    assert!(lease(two, 1, 60).await.is_empty());
    let other =
        store.reconnect_cluster(new.id, &connection("two", ids.next()), rig.cutoff(), &rig.message()).await.unwrap();
    assert!(other.is_some());
    assert_eq!(lease(one, 2, 60).await, held(2));
    assert_eq!(store.connection(new.id).await.unwrap().unwrap().sealed, "two");
    store.let_connections_go(one).await.unwrap();
    assert_eq!(lease(two, 3, 60).await, held(2));
    // A lease that is over is anybody's: this one is over at once.
    lease(two, 4, 0).await;
    assert_eq!(lease(one, 5, 60).await, held(2));
    assert!(lease(two, 6, 60).await.is_empty());

    let (plain, _) = rig.agent("dials").await;
    let none = store.reconnect_cluster(plain, &connection("x", ids.next()), rig.cutoff(), &rig.change()).await;
    assert!(none.unwrap().is_none(), "it has an agent of its own");
    store.delete_cluster(&made.cluster, &rig.change()).await.unwrap().unwrap();
    assert!(store.connection(new.id).await.unwrap().is_none());
    assert!(lease(one, 7, 60).await.is_empty());
}

pub(super) async fn several_share_what_nobody_hosts(rig: Rig) {
    for number in 0..8 {
        let new = NewCluster { mode: ClusterMode::Direct, ..rig.new_cluster(&format!("c{number}"), Labels::default()) };
        let connection = NewConnection {
            agent: rig.ids.next(),
            endpoint: "https://a".to_owned(),
            limits: ConnectionLimits::default(),
            sealed: "sealed".to_owned(),
        };
        rig.store.connect_cluster(&new, &connection, &Rights::default(), &rig.change()).await.unwrap();
    }
    let mut leasing = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (store, replica, now): (_, ReplicaId, _) = (Arc::clone(&rig.store), rig.ids.next(), rig.now);
        let until = now + TimeDelta::seconds(60);
        leasing.spawn(async move { store.lease_connections(replica, now, until, 3).await.unwrap() });
    }
    let held: Vec<ClusterId> = leasing.join_all().await.into_iter().flatten().map(|leased| leased.cluster).collect();
    let different: BTreeSet<ClusterId> = held.iter().copied().collect();
    assert_eq!(held.len(), different.len(), "one cluster has two hosts");
    assert!(held.len() >= 6, "{}", held.len());
}

pub(super) async fn recordings_are_kept_in_parts(rig: Rig) {
    let (store, ids, now) = (&rig.store, &rig.ids, rig.now);
    let bob: UserId = ids.next();
    let begin = |user: UserId, minutes: i64| {
        let new = NewRecording {
            id: ids.next(),
            user,
            cluster: ids.next(),
            request_id: "r-1".to_owned(),
            facts: "facts".to_owned(),
            lines: "part 0".to_owned(),
            at: now + TimeDelta::minutes(minutes),
        };
        let store = Arc::clone(store);
        async move {
            store.begin_recording(&new).await.unwrap();
            new.id
        }
    };
    let (first, second, third) = (begin(rig.alice, 0).await, begin(bob, 1).await, begin(rig.alice, 2).await);
    assert_eq!(store.recording_part(first, 0).await.unwrap(), Some(("part 0".to_owned(), false)));
    assert!(store.add_recording_part(first, 1, "part 1", 100).await.unwrap());
    assert!(store.add_recording_part(first, 2, "part 2", 11).await.unwrap());
    assert!(!store.add_recording_part(ids.next(), 1, "x", 1).await.unwrap(), "it is gone");
    assert_eq!(store.recording_part(first, 1).await.unwrap(), Some(("part 1".to_owned(), true)));
    assert_eq!(store.recording_part(first, 2).await.unwrap(), Some(("part 2".to_owned(), false)));
    assert_eq!(store.recording_part(first, 3).await.unwrap(), None);
    let ended = now + TimeDelta::minutes(5);
    store.end_recording(first, ended).await.unwrap();
    store.end_recording(first, ended + TimeDelta::minutes(1)).await.unwrap();
    let found = store.find_recording(first).await.unwrap().unwrap();
    assert_eq!((found.user, found.bytes, found.started_at, found.ended_at), (rig.alice, 111, now, Some(ended)));
    assert_eq!((found.request_id.as_str(), found.facts.as_str()), ("r-1", "facts"));
    assert!(store.find_recording(ids.next()).await.unwrap().is_none());

    let window = Window::of(&PageRequest { limit: 2, ..PageRequest::default() }).unwrap();
    let listed = |rows: Vec<KeptRecording>| rows.into_iter().map(|row| row.id).take(2).collect::<Vec<_>>();
    let (rows, total) = store.list_recordings(None, window).await.unwrap();
    assert_eq!((listed(rows), total), (vec![third, second], 3));
    let (rows, total) = store.list_recordings(Some(bob), window).await.unwrap();
    assert_eq!((listed(rows), total), (vec![second], 1));
    // The oldest go first: by age, then by number.
    assert_eq!(store.prune_recordings(now + TimeDelta::seconds(1), 100).await.unwrap(), 1);
    assert!(store.recording_part(first, 0).await.unwrap().is_none(), "parts go with it");
    assert_eq!(store.prune_recordings(now, 1).await.unwrap(), 1);
    assert_eq!(store.list_recordings(None, window).await.unwrap().1, 1);
    assert!(store.find_recording(third).await.unwrap().is_some());
}
