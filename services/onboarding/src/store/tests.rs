//! One suite on both databases.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use roadstead_contracts::ids::{AgentId, ClusterId, JoinTokenId, MessageId, ReplicaId, TypedId as _, UserId};
use roadstead_contracts::message::{
    ClusterFacts, ClusterMode, ClusterStatus, NewJoinToken, PageRequest, RightsProfile, SeedClusterDetails,
};
use roadstead_contracts::names::{ClusterName, Labels};
use roadstead_runtime::{Clock as _, Ids, Secret, SystemClock};
use roadstead_store::{Opened, Options, Window, open};

use super::{Batch, Beat, Change, ClusterPatch, EnrolOutcome, Enrolment, NewAgent, NewCluster, NewToken, Store};
use crate::domain::{AgentKind, ClusterRef, View};

struct Rig {
    store: Arc<dyn Store>,
    ids: Ids,
    now: DateTime<Utc>,
    alice: UserId,
    _folder: Option<tempfile::TempDir>,
}

async fn sqlite() -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let url = Secret::new(format!("sqlite:{}", folder.path().display()));
    Rig::of(open(&url, &Options::new("onboarding")).await.unwrap(), Some(folder)).await
}

async fn postgres() -> Rig {
    use roadstead_store::sqlx::{AssertSqlSafe, PgPool, raw_sql};
    let base = std::env::var("ROADSTEAD_TEST_POSTGRES_URL").expect("ROADSTEAD_TEST_POSTGRES_URL");
    let name = format!("onboarding_{}", Ids::system(SystemClock::shared()).uuid().simple());
    let pool = PgPool::connect(&base).await.unwrap();
    raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&pool).await.unwrap();
    let (server, _) = base.rsplit_once('/').unwrap();
    let url = Secret::new(format!("{server}/{name}"));
    Rig::of(open(&url, &Options::new("onboarding")).await.unwrap(), None).await
}

impl Rig {
    async fn of(opened: Opened, folder: Option<tempfile::TempDir>) -> Self {
        roadstead_store::migrations!("onboarding").up(&opened).await.unwrap();
        let ids = Ids::system(SystemClock::shared());
        let store: Arc<dyn Store> = roadstead_store::share!(opened => dyn Store);
        Self { store, alice: ids.next(), ids, now: SystemClock.now(), _folder: folder }
    }

    fn change(&self) -> Change {
        Change { message: None, at: self.now, ids: self.ids.clone() }
    }

    fn message(&self) -> Change {
        Change { message: Some(self.ids.next()), ..self.change() }
    }

    fn cutoff(&self) -> DateTime<Utc> {
        self.now - TimeDelta::seconds(10)
    }

    fn new_cluster(&self, name: &str, labels: Labels) -> NewCluster {
        NewCluster {
            id: self.ids.next(),
            name: ClusterName::parse(name).unwrap(),
            description: "text".to_owned(),
            labels,
            mode: ClusterMode::Agent,
            owner_id: self.alice,
            owner_seq: 7,
            details: None,
        }
    }

    fn new_token(&self, cluster_id: Option<ClusterId>, uses: u32) -> NewToken {
        let token = NewJoinToken {
            id: self.ids.next(),
            digest: "a".repeat(64),
            lifetime_seconds: 60,
            uses,
            labels: Labels::default(),
            profile: RightsProfile::Operator,
            namespaces: Vec::new(),
        };
        NewToken {
            token,
            cluster_id,
            owner_id: self.alice,
            owner_seq: 7,
            expires_at: self.now + TimeDelta::seconds(60),
        }
    }

    fn enrolment(&self, token: JoinTokenId, name: &str, key: &str) -> Enrolment {
        Enrolment {
            token,
            digest: "a".repeat(64),
            agent: self.ids.next(),
            cluster: self.ids.next(),
            name: Some(ClusterName::parse(name).unwrap()),
            labels: Labels::default(),
            public_key: key.to_owned(),
            agent_version: "1".to_owned(),
        }
    }

    /// A cluster with an agent that has enrolled.
    async fn agent(&self, name: &str) -> (ClusterId, AgentId) {
        let new = self.new_token(None, 1);
        self.store.create_token(&new, &self.change()).await.unwrap();
        match self.store.enrol(&self.enrolment(new.token.id, name, name), &self.change()).await.unwrap() {
            EnrolOutcome::Done(done) => (done.cluster, done.agent),
            other => panic!("{other:?}"),
        }
    }

    async fn connect(&self, agent: AgentId, replica: ReplicaId) -> Vec<(AgentId, i64)> {
        self.store.see_replica(replica, None, self.now).await.unwrap();
        let batch = Batch { connects: vec![agent], ..Batch::default() };
        self.store.apply(&batch, replica, &self.change()).await.unwrap()
    }

    async fn status(&self, cluster: ClusterId) -> ClusterStatus {
        self.store.find_cluster(&ClusterRef::Id(cluster), self.cutoff()).await.unwrap().unwrap().cluster.status
    }
}

fn everything(owner: UserId) -> View {
    View { all: true, owner, granted: Vec::new() }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
}

mod kept;

mod suite {
    pub(super) use super::kept::{
        connections_are_kept_and_leased, recordings_are_kept_in_parts, several_share_what_nobody_hosts,
    };
    use super::*;

    pub(super) async fn clusters_are_made_found_changed_and_removed(rig: Rig) {
        let new = rig.new_cluster("prod", labels(&[("tier", "gold")]));
        let token = rig.new_token(Some(new.id), 3);
        let change = rig.message();
        let made = rig.store.create_cluster(&new, Some(&token), &change).await.unwrap();
        assert_eq!(
            (made.cluster.name.as_str(), made.owner_seq, made.cluster.status),
            ("prod", 7, ClusterStatus::Pending)
        );
        let kept = rig.store.reply_of(change.message.unwrap()).await.unwrap().unwrap();
        assert_eq!(serde_json::from_value::<roadstead_contracts::message::Cluster>(kept).unwrap(), made.cluster);
        assert_eq!(rig.store.reply_of(rig.ids.next::<MessageId>()).await.unwrap(), None);
        for by in [ClusterRef::Id(new.id), ClusterRef::Seq(made.cluster.seq), ClusterRef::Name("prod".into())] {
            assert_eq!(rig.store.find_cluster(&by, rig.cutoff()).await.unwrap().unwrap().cluster, made.cluster);
        }
        let again = rig.store.create_cluster(&rig.new_cluster("prod", Labels::default()), None, &rig.change()).await;
        assert!(again.unwrap_err().is_conflict("clusters_name_key"));
        let patch = ClusterPatch { labels: Some(labels(&[("a", "b")])), ..ClusterPatch::default() };
        let changed = rig.store.update_cluster(new.id, &patch, rig.cutoff(), &rig.change()).await.unwrap().unwrap();
        assert_eq!((changed.cluster.description.as_str(), changed.cluster.labels), ("text", labels(&[("a", "b")])));
        assert!(rig.store.update_cluster(rig.ids.next(), &patch, rig.cutoff(), &rig.change()).await.unwrap().is_none());
        let (_, agent) = (new.id, {
            match rig.store.enrol(&rig.enrolment(token.token.id, "x", "key"), &rig.change()).await.unwrap() {
                EnrolOutcome::Done(done) => done.agent,
                other => panic!("{other:?}"),
            }
        });
        assert_eq!(rig.store.delete_cluster(&made.cluster, &rig.change()).await.unwrap(), Some(vec![agent]));
        assert_eq!(rig.store.delete_cluster(&made.cluster, &rig.change()).await.unwrap(), None);
        assert!(rig.store.find_agent(agent, rig.cutoff()).await.unwrap().is_none());
        assert!(rig.store.find_token(token.token.id).await.unwrap().is_none());
    }

    pub(super) async fn lists_are_filtered(rig: Rig) {
        let mut made = Vec::new();
        for number in 0..5 {
            let mut new = rig.new_cluster(&format!("c{number}"), labels(&[("n", &number.to_string()), ("all", "yes")]));
            if number == 4 {
                new.owner_id = rig.ids.next();
            }
            made.push(rig.store.create_cluster(&new, None, &rig.change()).await.unwrap().cluster);
        }
        let window = Window::of(&PageRequest { limit: 2, ..PageRequest::default() }).unwrap();
        let list = |view: View, wanted: Labels| {
            let store = Arc::clone(&rig.store);
            let cutoff = rig.cutoff();
            async move {
                let (rows, total) = store.list_clusters(&view, &wanted, window, cutoff).await.unwrap();
                (rows.into_iter().map(|row| row.cluster.name.to_string()).collect::<Vec<_>>(), total)
            }
        };
        let mine = View { all: false, owner: rig.alice, granted: Vec::new() };
        assert_eq!(
            list(everything(rig.alice), Labels::default()).await,
            (vec!["c4".into(), "c3".into(), "c2".into()], 5)
        );
        assert_eq!(list(mine.clone(), Labels::default()).await.1, 4);
        let granted = View { granted: vec![made[4].id.uuid().simple().to_string()], ..mine.clone() };
        assert_eq!(list(granted.clone(), Labels::default()).await.1, 5);
        assert_eq!(list(granted, labels(&[("n", "4"), ("all", "yes")])).await, (vec!["c4".into()], 1));
        assert_eq!(list(mine.clone(), labels(&[("n", "4")])).await.1, 0);
        assert_eq!(list(mine, labels(&[("n' OR 1=1--", "1")])).await.1, 0);
    }

    pub(super) async fn the_last_use_goes_to_one(rig: Rig) {
        let new = rig.new_token(None, 1);
        rig.store.create_token(&new, &rig.change()).await.unwrap();
        let mut joined = tokio::task::JoinSet::new();
        for number in 0..8 {
            let (store, change) = (Arc::clone(&rig.store), rig.change());
            let enrolment = rig.enrolment(new.token.id, &format!("e{number}"), &format!("k{number}"));
            joined
                .spawn(async move { matches!(store.enrol(&enrolment, &change).await.unwrap(), EnrolOutcome::Done(_)) });
        }
        assert_eq!(joined.join_all().await.into_iter().filter(|done| *done).count(), 1);
        let left = rig.store.find_token(new.token.id).await.unwrap().unwrap().token.uses_left;
        assert_eq!(left, 0);
    }

    pub(super) async fn a_refused_enrolment_spends_nothing(rig: Rig) {
        rig.agent("taken").await;
        let new = rig.new_token(None, 1);
        rig.store.create_token(&new, &rig.change()).await.unwrap();
        let enrolment = rig.enrolment(new.token.id, "taken", "k1");
        assert!(matches!(rig.store.enrol(&enrolment, &rig.change()).await.unwrap(), EnrolOutcome::NameTaken));
        let enrolment = rig.enrolment(new.token.id, "free", "taken");
        assert!(matches!(rig.store.enrol(&enrolment, &rig.change()).await.unwrap(), EnrolOutcome::KeyTaken));
        let nameless = Enrolment { name: None, ..rig.enrolment(new.token.id, "x", "k2") };
        assert!(matches!(rig.store.enrol(&nameless, &rig.change()).await.unwrap(), EnrolOutcome::NameMissing));
        let wrong = Enrolment { digest: "b".repeat(64), ..rig.enrolment(new.token.id, "free", "k3") };
        assert!(matches!(rig.store.enrol(&wrong, &rig.change()).await.unwrap(), EnrolOutcome::BadToken));
        let late = Change { at: rig.now + TimeDelta::seconds(61), ..rig.change() };
        let good = rig.enrolment(new.token.id, "free", "k3");
        assert!(matches!(rig.store.enrol(&good, &late).await.unwrap(), EnrolOutcome::BadToken));
        assert!(matches!(rig.store.enrol(&good, &rig.change()).await.unwrap(), EnrolOutcome::Done(_)));
        // The same again, as after a lost answer: the same agent.
        let again = Enrolment { agent: rig.ids.next(), ..good.clone() };
        match rig.store.enrol(&again, &rig.change()).await.unwrap() {
            EnrolOutcome::Done(done) => assert_eq!(done.agent, good.agent),
            other => panic!("{other:?}"),
        }
        rig.store.revoke_token(new.token.id, &rig.change()).await.unwrap().unwrap();
        assert!(matches!(rig.store.enrol(&again, &rig.change()).await.unwrap(), EnrolOutcome::BadToken));
    }

    pub(super) async fn presence_goes_by_epoch_and_replica(rig: Rig) {
        let (cluster, agent) = rig.agent("prod").await;
        let (one, two): (ReplicaId, ReplicaId) = (rig.ids.next(), rig.ids.next());
        assert_eq!(rig.connect(agent, one).await, [(agent, 1)]);
        assert_eq!(rig.status(cluster).await, ClusterStatus::Connected);
        assert_eq!(rig.connect(agent, two).await, [(agent, 2)]);
        // The old replica's good-bye comes late.
        let gone = |epoch| Batch { disconnects: vec![(agent, epoch)], ..Batch::default() };
        rig.store.apply(&gone(1), one, &rig.change()).await.unwrap();
        assert_eq!(rig.status(cluster).await, ClusterStatus::Connected);
        let found = rig.store.find_agent(agent, rig.cutoff()).await.unwrap().unwrap();
        assert_eq!((found.replica, found.agent.connected), (Some(two), true));
        rig.store.apply(&gone(2), two, &rig.change()).await.unwrap();
        assert_eq!(rig.status(cluster).await, ClusterStatus::Disconnected);
        assert!(rig.store.active_agent(cluster, rig.cutoff()).await.unwrap().is_some());
        assert!(rig.connect(rig.ids.next(), one).await.is_empty());
        rig.store.revoke_agent(agent, &rig.change()).await.unwrap().unwrap();
        assert!(rig.connect(agent, one).await.is_empty());
        assert!(rig.store.active_agent(cluster, rig.cutoff()).await.unwrap().is_none());
    }

    pub(super) async fn heartbeats_are_written_together(rig: Rig) {
        let replica = rig.ids.next();
        let mut agents = Vec::new();
        for number in 0..20 {
            let (cluster, agent) = rig.agent(&format!("c{number}")).await;
            rig.connect(agent, replica).await;
            agents.push((cluster, agent));
        }
        let at = rig.now + TimeDelta::seconds(5);
        let beat =
            |(cluster, agent): &(ClusterId, AgentId), facts| Beat { agent: *agent, cluster: Some(*cluster), at, facts };
        let facts = ClusterFacts {
            agent_version: Some("2".into()),
            node_count: Some(3),
            issues: vec!["it's \"odd\"".into()],
            ..ClusterFacts::default()
        };
        let beats = agents.iter().map(|agent| beat(agent, Some(facts.clone()))).collect();
        rig.store.apply(&Batch { beats, ..Batch::default() }, replica, &rig.change()).await.unwrap();
        let quiet = agents.iter().map(|agent| beat(agent, None)).collect();
        rig.store.apply(&Batch { beats: quiet, ..Batch::default() }, replica, &rig.change()).await.unwrap();
        for (cluster, agent) in &agents {
            let shown = rig.store.find_cluster(&ClusterRef::Id(*cluster), rig.cutoff()).await.unwrap().unwrap().cluster;
            assert_eq!((&shown.facts, shown.last_seen_at), (&facts, Some(at)));
            let agent = rig.store.find_agent(*agent, rig.cutoff()).await.unwrap().unwrap().agent;
            assert_eq!((agent.version.as_deref(), agent.last_seen_at), (Some("2"), Some(at)));
        }
        let counts = rig.store.count_clusters(rig.cutoff()).await.unwrap();
        assert_eq!((counts.len(), counts[0].count, counts[0].status), (1, 20, ClusterStatus::Connected));
    }

    pub(super) async fn a_dead_replica_is_swept(rig: Rig) {
        let (cluster, agent) = rig.agent("prod").await;
        let (dead, alive): (ReplicaId, ReplicaId) = (rig.ids.next(), rig.ids.next());
        rig.connect(agent, dead).await;
        let seen = rig.store.see_replica(alive, None, rig.now).await.unwrap();
        let old = rig.now - TimeDelta::hours(1);
        assert_eq!(rig.store.sweep(old, old, &rig.change()).await.unwrap(), 0);
        let cutoff = seen + TimeDelta::seconds(1);
        let later = rig.store.find_cluster(&ClusterRef::Id(cluster), cutoff).await.unwrap().unwrap();
        assert_eq!(later.cluster.status, ClusterStatus::Disconnected);
        assert_eq!(rig.store.sweep(cutoff, old, &rig.change()).await.unwrap(), 1);
        assert_eq!(rig.store.sweep(cutoff, old, &rig.change()).await.unwrap(), 0);
        // It was only slow: it takes what is still its own back.
        rig.store.see_replica(dead, None, rig.now).await.unwrap();
        assert_eq!(rig.store.reclaim(&[(agent, 1), (rig.ids.next(), 1)], dead).await.unwrap(), [agent]);
        assert_eq!(rig.status(cluster).await, ClusterStatus::Connected);
        assert!(rig.store.reclaim(&[(agent, 0)], alive).await.unwrap().is_empty());
        assert_eq!(rig.store.leave(dead, &rig.change()).await.unwrap(), 1);
        assert_eq!(rig.status(cluster).await, ClusterStatus::Disconnected);
    }

    pub(super) async fn agents_of_the_seeds_get_a_cluster(rig: Rig) {
        let new = NewAgent {
            id: rig.ids.next(),
            cluster_id: None,
            owner_id: rig.alice,
            kind: AgentKind::Seed,
            profile: RightsProfile::default(),
        };
        let made = rig.store.create_agent(&new, &rig.message()).await.unwrap();
        assert_eq!((made.kind, made.owner_id, made.agent.cluster_id), (AgentKind::Seed, Some(rig.alice), None));
        let details = SeedClusterDetails { tags: vec!["a".into()], ..SeedClusterDetails::default() };
        let cluster = NewCluster { details: Some(details.clone()), ..rig.new_cluster("old", Labels::default()) };
        let onboarded = rig.store.onboard(new.id, &cluster, &rig.message()).await.unwrap();
        assert_eq!((onboarded.details, onboarded.cluster.agent_id), (details, Some(new.id)));
        let other = SeedClusterDetails { use_secure_tls: true, ..SeedClusterDetails::default() };
        let described = rig.store.describe(cluster.id, &other, rig.cutoff(), &rig.message()).await.unwrap().unwrap();
        assert_eq!(described.details, other);
        let window = Window::of(&PageRequest::default()).unwrap();
        let (rows, total) = rig.store.list_agents(&everything(rig.alice), false, window, rig.cutoff()).await.unwrap();
        assert_eq!((rows.len(), total), (1, 1));
        let (_, connected) = rig.store.list_agents(&everything(rig.alice), true, window, rig.cutoff()).await.unwrap();
        assert_eq!(connected, 0);
        let (_, foreign) = rig
            .store
            .list_agents(&View { all: false, owner: rig.ids.next(), granted: Vec::new() }, false, window, rig.cutoff())
            .await
            .unwrap();
        assert_eq!(foreign, 0);
    }
}

macro_rules! on_both {
    ($($test:ident)+) => {
        mod sqlite_file {
            $(#[tokio::test]
            async fn $test() {
                super::suite::$test(super::sqlite().await).await;
            })+
        }
        mod postgres_server {
            $(#[tokio::test]
            #[ignore = "needs postgres"]
            async fn $test() {
                super::suite::$test(super::postgres().await).await;
            })+
        }
    };
}

on_both! {
    clusters_are_made_found_changed_and_removed
    lists_are_filtered
    the_last_use_goes_to_one
    a_refused_enrolment_spends_nothing
    presence_goes_by_epoch_and_replica
    heartbeats_are_written_together
    a_dead_replica_is_swept
    agents_of_the_seeds_get_a_cluster
    connections_are_kept_and_leased
    several_share_what_nobody_hosts
    recordings_are_kept_in_parts
}
