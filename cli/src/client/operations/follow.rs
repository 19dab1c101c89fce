//! Follows an operation to its end, over broken connections and restarts of the hub.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::super::hub::{Hub, Refused, segment};
use super::model::{Operation, Step};

/// The hub gives a sign of life every 15 s.
const SILENCE: Duration = Duration::from_secs(45);
/// Between two tries to take a stream up again, at first and at most.
const RETRY_FIRST: Duration = Duration::from_millis(300);
const RETRY_MOST: Duration = Duration::from_secs(5);
/// How long the hub may be away.
const AWAY: Duration = Duration::from_secs(180);
/// Longest event: a step with the largest diff.
const EVENT_MAX: usize = 8 * 1024 * 1024;

/// What the hub tells.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Told {
    /// Something happened.
    Step {
        /// What.
        step: Box<Step>,
    },
    /// Where it is now.
    Operation {
        /// The operation.
        operation: Box<Operation>,
    },
    /// It has ended.
    End {
        /// The operation.
        operation: Box<Operation>,
    },
}

/// Follows an operation from its beginning; what is told is handed on once, in order.
pub(super) async fn follow(hub: &Mutex<Hub>, id: &str, mut tell: impl FnMut(&Told)) -> Result<Operation> {
    let path = format!("/api/v1/operations/{}/events", segment(id));
    let mut after = 0;
    let (mut wait, mut lost) = (RETRY_FIRST, None);
    loop {
        let opened = hub.lock().await.events(&path, after).await;
        let fault = match opened {
            Ok(response) => {
                let before = after;
                match read(response, &mut after, &mut tell).await {
                    Ok(Some(operation)) => return Ok(operation),
                    // The hub moved, or the stream was long enough.
                    Ok(None) => {
                        if after > before {
                            (wait, lost) = (RETRY_FIRST, None);
                        }
                        None
                    }
                    Err(fault) => Some(fault),
                }
            }
            Err(fault) if is_final(&fault) => return Err(fault),
            Err(fault) => Some(fault),
        };
        let since = *lost.get_or_insert_with(Instant::now);
        if since.elapsed() > AWAY {
            let fault = fault.unwrap_or_else(|| anyhow::anyhow!("the hub ends every stream"));
            return Err(fault.context(format!("lost sight of operation {id}; it goes on without this command")));
        }
        sleep(wait).await;
        wait = (wait * 2).min(RETRY_MOST);
    }
}

/// What another try would not change.
fn is_final(fault: &anyhow::Error) -> bool {
    fault.downcast_ref::<Refused>().is_some_and(|refused| matches!(refused.status, 400 | 401 | 403 | 404 | 405))
}

async fn read(
    mut response: reqwest::Response,
    after: &mut i64,
    tell: &mut impl FnMut(&Told),
) -> Result<Option<Operation>> {
    let mut waiting: Vec<u8> = Vec::new();
    let mut data = String::new();
    loop {
        let chunk = timeout(SILENCE, response.chunk()).await.context("the hub fell silent")?;
        let Some(chunk) = chunk.context("the stream broke off")? else { return Ok(None) };
        waiting.extend_from_slice(&chunk);
        while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = waiting.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if let Some(text) = line.strip_prefix("data:") {
                data.push_str(text.trim_start());
            } else if line.is_empty() && !data.is_empty() {
                let told: Told = serde_json::from_str(&data).context("the hub's event was not understood")?;
                data.clear();
                if let Told::Step { step } = &told {
                    if step.number <= *after {
                        continue;
                    }
                    *after = step.number;
                }
                tell(&told);
                if let Told::End { operation } = told {
                    return Ok(Some(*operation));
                }
            }
        }
        if waiting.len() + data.len() > EVENT_MAX {
            bail!("an event is longer than {EVENT_MAX} bytes");
        }
    }
}
