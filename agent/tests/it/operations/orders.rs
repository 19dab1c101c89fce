//! What is an order and what is not, and what the ledger makes of repeats. Against an API server that a test plays.

use roadstead_agent::kubernetes::Cluster;
use roadstead_contracts::Code;
use roadstead_contracts::operation::{CancelledRun, Ending, ObjectKey, ObjectOutcome, RunEvent, Work};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::rig::{Rig, Told, Wish, apply, config_maps};
use crate::api::{Api, Manner};

async fn rig() -> (Rig, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let api = Api::start(Manner::default()).await;
    (Rig::of(api.cluster(), folder.path()), folder)
}

fn refused(told: &Told) -> Code {
    assert!(told.results.is_empty() && told.ending.is_none() && told.accepted.is_none(), "{told:?}");
    told.refused.as_ref().unwrap_or_else(|| panic!("{told:?}")).code
}

fn exec() -> Work {
    Work::Exec { namespace: "n".to_owned(), pod: "p".to_owned(), container: None, command: vec!["true".to_owned()] }
}

#[tokio::test]
async fn only_what_was_signed_is_begun() {
    let (rig, _folder) = rig().await;
    let wish = Wish::new(apply(), config_maps("n", 1, "a"));
    let changes: [fn(&mut roadstead_contracts::operation::OperationClaims); 8] = [
        |claims| claims.operation = super::rig::operation().to_string(),
        |claims| claims.epoch = 2,
        |claims| claims.aud = "0198c5b0-0000-7000-8000-00000000ffff".to_owned(),
        |claims| claims.digest = "0".repeat(64),
        |claims| (claims.iat, claims.exp) = (claims.iat - 600, claims.exp - 600),
        |claims| claims.sub = "system:admin".to_owned(),
        |claims| claims.roles = vec!["system:masters".to_owned()],
        |claims| claims.roles = Vec::new(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let told = rig.send(&rig.order(&wish, change), &wish.body).await.all().await;
        assert_eq!(refused(&told), Code::IdentityRefused, "{number}");
    }
    // The work, the body, and the key behind the signature.
    let mut other = rig.order(&wish, |_| {});
    other.work = Work::Delete { namespace: None, dry_run: false, wait: false };
    assert_eq!(refused(&rig.send(&other, &wish.body).await.all().await), Code::IdentityRefused);
    let order = rig.order(&wish, |_| {});
    assert_eq!(refused(&rig.send(&order, config_maps("n", 1, "b").as_bytes()).await.all().await), Code::BadRequest);
    let stranger = crate::hub::Keys::new();
    let mut forged = rig.order(&wish, |_| {});
    forged.order = stranger.assertion(|_| {});
    assert_eq!(refused(&rig.send(&forged, &wish.body).await.all().await), Code::IdentityRefused);
    let mut elsewhere = rig.order(&wish, |_| {});
    elsewhere.cluster_id = "0198c5b0-0000-7000-8000-00000000ffff".parse().unwrap();
    assert_eq!(refused(&rig.send(&elsewhere, &wish.body).await.all().await), Code::IdentityRefused);
    // And the one that is.
    assert!(rig.run(&wish).await.accepted.is_some());
}

#[tokio::test]
async fn an_agent_without_a_memory_takes_no_orders() {
    let api = Api::start(Manner::default()).await;
    let rig = Rig::forgetful(api.cluster());
    let told = rig.run(&Wish::new(apply(), config_maps("n", 1, "a"))).await;
    assert_eq!(refused(&told), Code::Unavailable);
    assert!(told.refused.unwrap().detail.contains("state.ledger_dir"));
}

#[tokio::test]
async fn a_repeat_is_recognised() {
    let (rig, _folder) = rig().await;
    // The played API server has no such kind: every object fails, which is as good an ending as any.
    let mut wish = Wish::new(apply(), config_maps("n", 3, "a"));
    let first = rig.run(&wish).await;
    assert_eq!(first.accepted, Some((3, 0)));
    assert_eq!(first.ending().ending, Ending::Failed);
    assert_eq!(first.outcomes(), [ObjectOutcome::Failed; 3]);
    assert_eq!(first.results[0].error.as_ref().unwrap().code, Code::NotFound);
    assert_eq!(first.results[1].source, "manifest#2");

    let rig = rig.die().await;
    let again = rig.run(&wish).await;
    assert_eq!((again.accepted, &again.results, &again.ending), (Some((3, 3)), &first.results, &first.ending));
    assert_eq!(rig.cancel(wish.id, 1).await, CancelledRun::Ended);

    // A hub that has the first two is told the third; one that has more than the ledger is told everything.
    for (stored, told) in [(2, 1), (3, 0), (4, 3)] {
        assert_eq!(rig.run(&Wish { stored, ..wish.clone() }).await.results.len(), told, "{stored}");
    }
    // The same attempt with another content.
    let other = Wish { body: config_maps("n", 2, "a").into(), ..wish.clone() };
    assert_eq!(refused(&rig.run(&other).await), Code::Conflict);
    // A later one, and then the earlier one again.
    wish.epoch = 2;
    assert_eq!(rig.run(&wish).await.accepted, Some((3, 0)));
    wish.epoch = 1;
    assert_eq!(refused(&rig.run(&wish).await), Code::StaleEpoch);
    // Settled, its ending is still known for a while; its objects are not.
    wish.epoch = 2;
    rig.settle(wish.id, 2).await;
    let settled = rig.run(&wish).await;
    assert_eq!((settled.results.len(), settled.ending().ending), (0, Ending::Failed));
    rig.settle(wish.id, 2).await;
    rig.settle(super::rig::operation(), 1).await;
}

#[tokio::test]
async fn a_stop_that_comes_first_is_remembered() {
    let (rig, _folder) = rig().await;
    let mut wish = Wish::new(apply(), config_maps("n", 3, "a"));
    assert_eq!(rig.cancel(wish.id, 1).await, CancelledRun::Unknown);
    let rig = rig.die().await;
    let told = rig.run(&wish).await;
    assert_eq!((told.ending().ending, told.ending().counts.skipped), (Ending::Cancelled, 3));
    // A later attempt is another decision.
    wish.epoch = 2;
    assert_eq!(rig.run(&wish).await.ending().ending, Ending::Failed);
}

#[tokio::test]
async fn bad_bodies_end_at_once_and_say_where() {
    let (rig, _folder) = rig().await;
    for (body, words) in [
        ("kind: X\n---\na: [\n", "document 2"),
        ("", "holds no objects"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: other}\n", "names the namespace other"),
    ] {
        let work = Work::Apply {
            namespace: Some("n".to_owned()),
            dry_run: false,
            prune: None,
            inventory: None,
            force_conflicts: false,
            wait: false,
        };
        let told = rig.run(&Wish::new(work, body)).await;
        let ending = told.ending();
        assert_eq!(ending.ending, Ending::Failed);
        assert!(ending.error.as_ref().unwrap().detail.contains(words), "{ending:?}");
    }
    let told = rig.run(&Wish::new(Work::Undo { force: false }, "{}\n")).await;
    assert!(told.ending().error.as_ref().unwrap().detail.contains("line 1 of the undo"));
    let long = Wish { body: vec![b'#'; 8 * 1024 * 1024 + 1], ..Wish::new(apply(), "") };
    assert_eq!(refused(&rig.run(&long).await), Code::PayloadTooLarge);
}

/// An API server that takes requests and never answers; says which ones came.
async fn silent() -> (Cluster, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = kube::Config::new(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
    let (give, came) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 1024];
            let length = connection.read(&mut head).await.unwrap();
            let line = String::from_utf8_lossy(&head[..length]).lines().next().unwrap_or_default().to_owned();
            // Heartbeats ask for the version and the nodes.
            if !line.contains("/version") && !line.contains("/nodes") && give.send(line).is_err() {
                return;
            }
            held.push(connection);
        }
    });
    (Cluster::with_config(config, false).unwrap(), came)
}

/// Row F10: what must not be done twice is not.
#[tokio::test]
async fn f10_a_command_is_never_run_again_by_itself() {
    let (cluster, mut came) = silent().await;
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::of(cluster, folder.path());
    let mut wish = Wish::new(exec(), "");
    let mut events = rig.begin(&wish).await;
    assert!(matches!(events.next().await, Some(RunEvent::Accepted { objects: 0, .. })));
    // The command is on its way when the agent dies.
    assert!(came.recv().await.unwrap().contains("/pods/p/exec"));
    let rig = rig.die().await;
    let told = rig.run(&wish).await;
    assert_eq!(told.ending().ending, Ending::Interrupted);
    // Neither a later attempt nor a lost ledger changes that.
    wish.epoch = 2;
    assert_eq!(rig.run(&wish).await.ending().ending, Ending::Interrupted);
    let lost = Wish { begun: true, ..Wish::new(exec(), "") };
    assert_eq!(rig.run(&lost).await.ending().ending, Ending::Interrupted);
    assert!(came.try_recv().is_err(), "the command was sent again");
}

/// A ledger that was damaged on the disk: what may be repeated is, a command is not.
#[tokio::test]
async fn a_damaged_ledger_is_set_aside() {
    let (rig, folder) = rig().await;
    for (work, body, expected) in
        [(apply(), config_maps("n", 1, "a"), Ending::Failed), (exec(), String::new(), Ending::Interrupted)]
    {
        let wish = Wish::new(work, body);
        assert!(rig.run(&wish).await.ending.is_some());
        let file = folder.path().join(format!("{}.1.run", wish.id));
        std::fs::write(&file, b"garbage\nmore\n").unwrap();
        assert_eq!(rig.run(&wish).await.ending().ending, expected);
        assert!(file.with_extension("damaged").exists());
    }
}

#[tokio::test]
async fn a_later_stream_takes_over() {
    let (cluster, mut came) = silent().await;
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::of(cluster, folder.path());
    let object = ObjectKey {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: Some("n".to_owned()),
        name: "d".to_owned(),
    };
    let wish = Wish::new(Work::Scale { object, replicas: 2, wait: false }, "");
    let mut first = rig.begin(&wish).await;
    assert!(first.next().await.is_some());
    assert!(came.recv().await.unwrap().contains("/apis/apps/v1"));
    let mut second = rig.begin(&wish).await;
    assert!(second.next().await.is_some());
    assert_eq!(first.next().await, None);
    // One run behind both: nothing was asked twice, and it can be told to stop.
    assert!(came.try_recv().is_err());
    assert_eq!(rig.cancel(wish.id, 1).await, CancelledRun::Stopping);
}
