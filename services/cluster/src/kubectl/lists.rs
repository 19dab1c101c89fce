//! Lists, page by page. A page is tens of megabytes once it is read, so what is wanted of it is taken and the rest is gone
//! before the next one is asked for; and few lists are read at once, whoever asks.

use std::time::Duration;

use roadstead_contracts::percent::escape;
use roadstead_contracts::{Code, Error};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{Answered, Api, Ask, PAGE, PAGES_MAX, Told, judged, said};

/// Lists at once: each may hold a page of 8 MiB as it came.
const AT_ONCE: usize = 32;
/// Pages that are read at once. Each may take some 100 MiB while its objects stand in memory.
const READING: usize = 4;
/// How long a list waits for its turn: most take less.
const TURN_WAIT: Duration = Duration::from_secs(2);
/// When a caller who got none should ask again.
const AGAIN_SECONDS: u32 = 2;
/// Pages from this size on are read on a thread of their own: reading 64 KiB takes a millisecond.
const LARGE: usize = 64 * 1024;

/// Turns of all callers.
static TURNS: Turns = Turns::new(AT_ONCE, READING);

struct Turns {
    lists: Semaphore,
    pages: Semaphore,
}

impl Turns {
    const fn new(lists: usize, pages: usize) -> Self {
        Self { lists: Semaphore::const_new(lists), pages: Semaphore::const_new(pages) }
    }

    /// Asks for every page of a list; `take` has each with its length in bytes.
    async fn pages(
        &self,
        api: &dyn Api,
        path: &str,
        query: &str,
        accept: &'static str,
        mut take: impl FnMut(Value, usize) -> Told<()> + Send,
    ) -> Told<()> {
        let Ok(Ok(_list)) = tokio::time::timeout(TURN_WAIT, self.lists.acquire()).await else {
            let why = "the hub reads as many lists as it can at once";
            return Err(Error::new(Code::Unavailable, why).retry_after(AGAIN_SECONDS).into());
        };
        let mut next = String::new();
        for _ in 0..PAGES_MAX {
            let path = format!("{path}?limit={PAGE}{query}{next}");
            let answer = api.ask(Ask { accept, ..Ask::get(path) }).await?;
            let length = answer.body.len();
            let _page = self.pages.acquire().await.map_err(|_| Error::of(Code::Internal))?;
            let page = read(answer).await?;
            let more = page["metadata"]["continue"].as_str().filter(|more| !more.is_empty()).map(escape);
            take(page, length)?;
            match more {
                Some(more) => next = format!("&continue={more}"),
                None => return Ok(()),
            }
        }
        said(format!("error: there are more than {} objects; narrow the request", PAGE * PAGES_MAX))
    }
}

async fn read(answer: Answered) -> Told<Value> {
    let Answered { status, body } = answer;
    let page = if body.len() < LARGE {
        serde_json::from_slice(&body).ok()
    } else {
        let parsed = tokio::task::spawn_blocking(move || serde_json::from_slice(&body).ok()).await;
        parsed.map_err(|_| Error::of(Code::Internal))?
    };
    judged(status, page)
}

/// Asks for every page of a list; `take` has each with its length in bytes.
pub(super) async fn pages(
    api: &dyn Api,
    path: &str,
    query: &str,
    accept: &'static str,
    take: impl FnMut(Value, usize) -> Told<()> + Send,
) -> Told<()> {
    TURNS.pages(api, path, query, accept, take).await
}

/// Asks for every object of a list; what `take` does not keep of one is gone with its page.
pub(crate) async fn each(
    api: &dyn Api,
    path: &str,
    query: &str,
    accept: &'static str,
    mut take: impl FnMut(Value) + Send,
) -> Told<()> {
    pages(api, path, query, accept, |mut page, _| {
        for item in items_of(&mut page) {
            take(item);
        }
        Ok(())
    })
    .await
}

/// The objects of a page.
pub(super) fn items_of(page: &mut Value) -> Vec<Value> {
    page.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use serde_json::json;

    use super::super::{AS_JSON, Failure};
    use super::*;

    /// Three pages of two objects; what happened in which order.
    #[derive(Default)]
    struct Paged {
        happened: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl Api for Paged {
        async fn ask(&self, ask: Ask) -> Result<Answered, Error> {
            let page: usize = ask.path.split_once("continue=p").map_or(0, |(_, number)| number.parse().unwrap());
            self.happened.lock().unwrap().push(format!("ask {page}"));
            let more = if page < 2 { format!("p{}", page + 1) } else { String::new() };
            let body = json!({
                "metadata": {"continue": more},
                "items": [{"n": page * 2, "filler": "x".repeat(LARGE)}, {"n": page * 2 + 1}],
            });
            Ok(Answered { status: 200, body: body.to_string().into() })
        }
    }

    #[tokio::test]
    async fn regression_a_page_is_gone_before_the_next_is_asked_for() {
        let api = Paged::default();
        let mut seen = Vec::new();
        each(&api, "/api/v1/pods", "", AS_JSON, |item| {
            api.happened.lock().unwrap().push(format!("take {}", item["n"]));
            seen.push(item["n"].as_u64());
        })
        .await
        .unwrap();
        assert_eq!(seen, (0..6).map(Some).collect::<Vec<_>>());
        let expected = ["ask 0", "take 0", "take 1", "ask 1", "take 2", "take 3", "ask 2", "take 4", "take 5"];
        assert_eq!(*api.happened.lock().unwrap(), expected);
        // Whoever has enough asks for no more.
        let enough = pages(&api, "/x", "", AS_JSON, |_, length| {
            assert!(length > LARGE);
            said("enough")
        });
        assert!(matches!(enough.await, Err(Failure::Said(text)) if text == "enough"));
        assert_eq!(api.happened.lock().unwrap().len(), expected.len() + 1);
    }

    /// Answers with success and no JSON.
    struct Torn(usize);

    #[async_trait]
    impl Api for Torn {
        async fn ask(&self, _ask: Ask) -> Result<Answered, Error> {
            Ok(Answered { status: 200, body: "[{".repeat(self.0).into() })
        }
    }

    #[tokio::test]
    async fn regression_an_answer_that_is_no_json_is_not_an_empty_list() {
        for api in [Torn(1), Torn(LARGE)] {
            let listed = each(&api, "/api/v1/pods", "", AS_JSON, |_| {}).await;
            let asked = super::super::json(&api, Ask::get("/version")).await.map(drop);
            for told in [listed, asked] {
                assert!(matches!(told, Err(Failure::Hub(error)) if error.code == Code::AgentError));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn regression_few_lists_are_read_at_once() {
        let (turns, api) = (Turns::new(1, 1), Paged::default());
        let taken = turns.lists.acquire().await.unwrap();
        let began = tokio::time::Instant::now();
        let refused = turns.pages(&api, "/api/v1/pods", "", AS_JSON, |_, _| Ok(())).await;
        let Err(Failure::Hub(error)) = refused else { panic!("{refused:?}") };
        assert_eq!((error.code, error.retry_after), (Code::Unavailable, Some(AGAIN_SECONDS)));
        assert!(began.elapsed() >= TURN_WAIT && api.happened.lock().unwrap().is_empty());
        // A turn that comes in time is waited for.
        let waits = turns.pages(&api, "/api/v1/pods", "", AS_JSON, |_, _| Ok(()));
        let (done, ()) = tokio::join!(waits, async { drop(taken) });
        done.unwrap();
        assert_eq!((turns.lists.available_permits(), turns.pages.available_permits()), (1, 1));
    }
}
