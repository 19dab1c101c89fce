use std::sync::Mutex;

use roadstead_tunnel::transport::pipe;
use roadstead_tunnel::{Event, Incoming, Options, Role, Session, start};

use super::*;

/// Keeps them in memory.
#[derive(Default)]
struct Kept(Mutex<Vec<Bytes>>);

#[async_trait]
impl BodyStage for Kept {
    async fn stage(&self, body: Bytes) -> Result<String> {
        let sha256 = digest(&body);
        self.0.lock().unwrap().push(body);
        Ok(sha256)
    }
}

struct Rig {
    tasks: Tasks,
    sender: Session,
    _receiver: Session,
    incoming: Incoming,
    kept: Arc<Kept>,
    intake: Intake,
}

impl Rig {
    fn new() -> Self {
        let tasks = Tasks::new();
        let (one, two) = pipe();
        let (sender, _) = start(one, Role::Hub, Options::default(), &tasks);
        let (receiver, incoming) = start(two, Role::Agent, Options::default(), &tasks);
        let kept = Arc::new(Kept::default());
        let intake = Intake::new(Arc::clone(&kept) as Arc<dyn BodyStage>);
        Self { tasks, sender, _receiver: receiver, incoming, kept, intake }
    }

    /// Announces a body; the intake waits for it.
    async fn announce(&mut self, length: u64, sha256: &str) -> Stream {
        let head = serde_json::to_vec(&StageHead { sha256: sha256.to_owned(), length }).unwrap();
        let stream = self.sender.open(head.into(), Class::Bulk).unwrap();
        let Some(Event::Stream { head, stream: theirs }) = self.incoming.next().await else { panic!("no stream") };
        let intake = self.intake.clone();
        self.tasks.spawn("intake", async move { intake.receive(&head, theirs).await });
        stream
    }
}

async fn answer(stream: &mut Stream) -> VerbAnswer<String> {
    let mut line = Vec::new();
    stream.read_to_end(&mut line).await.unwrap();
    serde_json::from_slice(&line).unwrap()
}

fn refusal(answer: VerbAnswer<String>) -> Error {
    match answer {
        VerbAnswer::Error(error) => error,
        VerbAnswer::Ok(sha256) => panic!("kept as {sha256}"),
    }
}

async fn bring(rig: &mut Rig, body: &[u8]) -> VerbAnswer<String> {
    let mut stream = rig.announce(body.len() as u64, &digest(body)).await;
    stream.write_all(body).await.unwrap();
    stream.finish();
    answer(&mut stream).await
}

#[tokio::test(start_paused = true)]
async fn regression_bodies_that_are_staged_at_once_share_room() {
    let mut rig = Rig::new();
    let mut announced = Vec::new();
    for _ in 0..TOGETHER / BODY_MAX {
        announced.push(rig.announce(BODY_MAX as u64, "").await);
    }
    let refused = refusal(bring(&mut rig, b"one more").await);
    assert_eq!((refused.code, refused.retry_after), (Code::Unavailable, Some(1)));
    assert!(rig.kept.0.lock().unwrap().is_empty());
    // Whoever only announced ends, and there is room again.
    announced.pop();
    assert!(matches!(bring(&mut rig, b"one more").await, VerbAnswer::Ok(sha256) if sha256 == digest(b"one more")));
    drop(announced);
    let largest = vec![7; BODY_MAX];
    assert!(matches!(bring(&mut rig, &largest).await, VerbAnswer::Ok(_)));
    assert_eq!(rig.kept.0.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_long_or_not_what_its_head_says_is_not_kept() {
    let mut rig = Rig::new();
    for length in [BODY_MAX as u64 + 1, u64::MAX] {
        let mut stream = rig.announce(length, "").await;
        assert_eq!(refusal(answer(&mut stream).await).code, Code::PayloadTooLarge, "{length}");
    }
    for (length, body) in [(3, "ab"), (3, "abcd"), (3, "abd")] {
        let mut stream = rig.announce(length, &digest(b"abc")).await;
        stream.write_all(body.as_bytes()).await.unwrap();
        stream.finish();
        assert_eq!(refusal(answer(&mut stream).await).code, Code::BadRequest, "{body}");
    }
    assert!(rig.kept.0.lock().unwrap().is_empty());
}
