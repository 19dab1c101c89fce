use roadstead_contracts::agent::Notice;
use roadstead_runtime::Tasks;
use roadstead_tunnel::transport::pipe;
use roadstead_tunnel::{Event, Incoming, Options, Role, start};

use super::*;
use crate::kubernetes::Cluster;
use crate::kubernetes::kinds::Kinds;

fn known(kind: &str, namespace: Option<&str>, name: &str) -> Known {
    let key = ObjectKey {
        api_version: "v1".to_owned(),
        kind: kind.to_owned(),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
    };
    Known::new(key)
}

#[test]
fn watches_are_few_whatever_is_remembered() {
    let mut all =
        vec![known("ConfigMap", Some("a"), "x"), known("ConfigMap", Some("a"), "y"), known("Node", None, "n")];
    assert_eq!(groups(&all).len(), 2);
    for place in 0..60 {
        all.push(known("Service", Some(&format!("n-{place}")), "s"));
    }
    assert_eq!(groups(&all).len(), 62);
    for place in 0..10 {
        all.push(known("ConfigMap", Some(&format!("n-{place}")), "s"));
    }
    let merged = groups(&all);
    let services: Vec<_> = merged.iter().filter(|group| group.kind == "Service").collect();
    assert_eq!((merged.len(), services.len(), services[0].namespace.clone()), (13, 1, None));
    assert!(services[0].holds(&all[10].key) && !services[0].holds(&all[0].key));
    for kind in 0..100 {
        all.push(known(&format!("K{kind}"), None, "x"));
    }
    assert_eq!(groups(&all).len(), WATCHES_MAX);
}

/// A watcher of a cluster that is away, and the hub that it tells. Two objects are remembered.
struct Rig {
    watcher: Watcher,
    session: Session,
    hub: Incoming,
    _hub: Session,
    _tasks: Tasks,
    _folder: tempfile::TempDir,
}

fn map() -> ObjectKey {
    known("ConfigMap", Some("shop"), "a").key
}

fn service() -> ObjectKey {
    known("Service", Some("shop"), "b").key
}

fn group(key: &ObjectKey) -> Group {
    Group { api_version: key.api_version.clone(), kind: key.kind.clone(), namespace: key.namespace.clone() }
}

impl Rig {
    fn new() -> Self {
        roadstead_runtime::install_crypto();
        let folder = tempfile::tempdir().unwrap();
        // Nobody listens there.
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let cluster = Cluster::with_config(config, false).unwrap();
        let drift = Drift::open(folder.path().join("drift"), cluster, Arc::new(Kinds::default())).unwrap();
        drift.memory.digests().unwrap();
        let operation = "0198c5b0-0000-7000-8000-000000000001".parse().unwrap();
        let applied = |key| Applied { key, operation, version: "1".to_owned(), fields: Vec::new() };
        drift.note(vec![applied(map()), applied(service())], &[]).unwrap();
        let objects = drift.objects().unwrap();
        let mut watcher = Watcher::new(Arc::new(drift), objects);
        watcher.plan(1);
        let tasks = Tasks::new();
        let (ours, theirs) = pipe();
        let (session, _events) = start(ours, Role::Agent, Options::default(), &tasks);
        let (other, hub) = start(theirs, Role::Hub, Options::default(), &tasks);
        Self { watcher, session, hub, _hub: other, _tasks: tasks, _folder: folder }
    }

    fn listed(&mut self, key: &ObjectKey, there: bool) {
        let objects = if there { vec![(key.clone(), ("1".to_owned(), 0))] } else { Vec::new() };
        self.watcher.hear(Heard::Listed { group: group(key), objects });
    }

    fn failed(&mut self, key: &ObjectKey, times: u32) {
        for _ in 0..times {
            self.watcher.hear(Heard::Failed { group: group(key) });
        }
    }

    /// Reads what is due, as often as that.
    async fn look(&mut self, times: u32) {
        for _ in 0..times {
            tokio::time::sleep(LOOK_AGAIN).await;
            self.watcher.look().await;
        }
    }

    /// Whether nothing is told yet, however late it is.
    async fn waits(&mut self) -> bool {
        tokio::time::sleep(Duration::from_secs(60)).await;
        self.watcher.report(&self.session);
        self.watcher.reports.is_first() && self.watcher.reports.due().is_some()
    }

    /// Figures of the report: drifted, unseen.
    async fn told(&mut self) -> (u32, u32) {
        self.watcher.report(&self.session);
        match self.hub.next().await {
            Some(Event::Notice(bytes)) => match serde_json::from_slice(&bytes).unwrap() {
                Notice::Drift(part) => (part.counts.drifted, part.counts.unseen),
                other => panic!("{other:?}"),
            },
            _ => panic!("no notice"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn regression_an_api_server_that_is_away_is_no_all_clear() {
    let mut rig = Rig::new();
    assert!(rig.waits().await, "nothing was looked at");
    rig.failed(&map(), 3 * TRIES);
    rig.failed(&service(), 3 * TRIES);
    assert!(rig.waits().await, "the API server is away");
    rig.listed(&map(), true);
    assert!(rig.waits().await, "the other kind was not looked at yet");
    // Away once more: what fails now says nothing about the kind.
    rig.failed(&map(), 1);
    rig.failed(&service(), 3 * TRIES);
    assert!(rig.waits().await, "it went away between the two");
    rig.listed(&map(), true);
    rig.listed(&service(), true);
    assert_eq!(rig.told().await, (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_never_answers_hides_nothing_for_ever() {
    let mut rig = Rig::new();
    rig.listed(&map(), true);
    rig.failed(&service(), TRIES - 1);
    assert!(rig.waits().await);
    rig.failed(&service(), 1);
    assert_eq!(rig.told().await, (0, 1));
}

#[tokio::test(start_paused = true)]
async fn regression_what_was_not_read_is_not_all_right() {
    let mut rig = Rig::new();
    rig.listed(&map(), true);
    rig.listed(&service(), false);
    // The reads fail, with the API server away: that may last.
    rig.failed(&map(), 1);
    rig.failed(&service(), 1);
    rig.look(2 * TRIES).await;
    assert!(rig.waits().await, "it is not known what became of it");
    // Others are seen, and this one cannot be read.
    rig.listed(&map(), true);
    rig.look(TRIES).await;
    assert_eq!(rig.told().await, (0, 1));
}

/// It belongs to no watch yet: it will in a moment, and is seen then.
#[tokio::test(start_paused = true)]
async fn regression_what_was_only_just_noted_is_not_unseen() {
    let mut rig = Rig::new();
    rig.listed(&map(), true);
    rig.listed(&service(), true);
    assert_eq!(rig.told().await, (0, 0));
    rig.watcher.taken(1);
    // Of a kind that nothing is watched of, and the next plan is not made.
    let operation = "0198c5b0-0000-7000-8000-000000000002".parse().unwrap();
    let key = known("Node", None, "n").key;
    let applied = Applied { key, operation, version: "1".to_owned(), fields: Vec::new() };
    rig.watcher.drift.note(vec![applied], &[]).unwrap();
    assert_eq!(rig.told().await, (0, 0));
}
