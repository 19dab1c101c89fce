//! Callers that keep asking while something breaks, and write down every answer.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use roadstead_mesh_tests::Api;
use roadstead_testkit::wait::eventually;
use tokio::task::JoinSet;

/// Callers per door: enough that requests are under way at any moment.
const CALLERS: usize = 6;
/// Between two questions of a caller, so that an outage does not become a storm of refusals.
const PAUSE: Duration = Duration::from_millis(25);

/// How long a while is: many times what a question and the pause behind it take.
pub const STEADY: Duration = Duration::from_secs(5);

/// One question and what came of it.
#[derive(Debug, Clone)]
pub struct Sample {
    pub door: usize,
    pub caller: usize,
    pub began: Instant,
    pub took: Duration,
    /// A status, or that the connection broke.
    pub status: Option<u16>,
    pub body: String,
}

/// Callers at work.
pub struct Load {
    samples: Arc<Mutex<Vec<Sample>>>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
    callers: Vec<Caller>,
}

/// Somebody who asks at one door, and since when the question has been under way.
struct Caller {
    door: usize,
    asked: Arc<Mutex<Option<Instant>>>,
}

impl Load {
    /// Starts asking for a path at each of these doors.
    pub fn start(doors: Vec<(usize, Api)>, paths: &[String]) -> Self {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        let mut callers = Vec::new();
        for (door, api) in doors {
            for number in 0..CALLERS {
                let (caller, asked) = (callers.len(), Arc::default());
                callers.push(Caller { door, asked: Arc::clone(&asked) });
                let path = paths[number % paths.len()].clone();
                let (samples, stop, api) = (Arc::clone(&samples), Arc::clone(&stop), api.clone());
                tasks.spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let began = Instant::now();
                        *asked.lock().unwrap() = Some(began);
                        let answer = api.get(&path).await;
                        *asked.lock().unwrap() = None;
                        let (status, body) = match answer {
                            Ok(answer) => (Some(answer.status), answer.body.to_string()),
                            Err(error) => (None, format!("{error:#}")),
                        };
                        samples.lock().unwrap().push(Sample {
                            door,
                            caller,
                            began,
                            took: began.elapsed(),
                            status,
                            body,
                        });
                        tokio::time::sleep(PAUSE).await;
                    }
                });
            }
        }
        Self { samples, stop, tasks, callers }
    }

    /// Whether, since a moment, nobody got a bad answer to what was asked after it, and every caller a good one, but for those
    /// whose question has been under way since before `broken` was over: that may take its whole deadline.
    fn all_good_since(&self, moment: Instant, broken: Instant) -> Result<()> {
        let samples = self.samples.lock().unwrap();
        let asked: Vec<&Sample> = samples.iter().filter(|sample| sample.began >= moment).collect();
        let bad = asked.iter().rev().find(|sample| sample.status != Some(200));
        if let Some(bad) = bad {
            anyhow::bail!("{bad:?}");
        }
        let heard: BTreeSet<usize> = asked.iter().map(|sample| sample.caller).collect();
        let doors: BTreeSet<usize> = asked.iter().map(|sample| sample.door).collect();
        for (number, Caller { door, asked }) in self.callers.iter().enumerate() {
            let waits = asked.lock().unwrap().is_some_and(|began| began < broken);
            ensure!(heard.contains(&number) || (waits && doors.contains(door)), "caller {number} has no answer yet");
        }
        Ok(())
    }

    /// Waits until all answers were good for a while, not once: what flaps is not back. The while begins after `since`.
    pub async fn steady(&self, since: Instant, limit: Duration) -> Result<()> {
        let good = || async {
            ensure!(since.elapsed() >= STEADY, "not looked at for long enough");
            self.all_good_since(Instant::now().checked_sub(STEADY).context("no such moment")?, since)
        };
        eventually("good for a while", limit, good).await?;
        Ok(())
    }

    /// Waits until every caller gets good answers for the first time.
    pub async fn runs(&self, limit: Duration) -> Result<()> {
        let before = Instant::now();
        let good = || async {
            let since = self.last_bad().map_or(before, |bad| bad + Duration::from_nanos(1));
            self.all_good_since(since, before)
        };
        eventually("the load runs", limit, good).await?;
        Ok(())
    }

    /// The last bad answer, or the beginning.
    pub fn last_bad(&self) -> Option<Instant> {
        let samples = self.samples.lock().unwrap();
        samples.iter().filter(|sample| sample.status != Some(200)).map(|sample| sample.began).max()
    }

    /// Ends; answers everything that was written down.
    pub async fn end(mut self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        let samples = self.samples.lock().unwrap();
        samples.clone()
    }
}
