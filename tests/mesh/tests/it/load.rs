//! Callers that keep asking while something breaks, and write down every answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use roadstead_mesh_tests::Api;
use tokio::task::JoinSet;

/// Callers per door: enough that requests are under way at any moment.
const CALLERS: usize = 6;
/// Between two questions of a caller, so that an outage does not become a storm of refusals.
const PAUSE: Duration = Duration::from_millis(25);

/// One question and what came of it.
#[derive(Debug, Clone)]
pub struct Sample {
    pub door: usize,
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
    callers: usize,
}

impl Load {
    /// Starts asking for a path at each of these doors.
    pub fn start(doors: Vec<(usize, Api)>, paths: &[String]) -> Self {
        let samples = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        let mut callers = 0;
        for (door, api) in doors {
            for number in 0..CALLERS {
                callers += 1;
                let path = paths[number % paths.len()].clone();
                let (samples, stop, api) = (Arc::clone(&samples), Arc::clone(&stop), api.clone());
                tasks.spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let began = Instant::now();
                        let answer = api.get(&path).await;
                        let (status, body) = match answer {
                            Ok(answer) => (Some(answer.status), answer.body.to_string()),
                            Err(error) => (None, format!("{error:#}")),
                        };
                        samples.lock().unwrap().push(Sample { door, began, took: began.elapsed(), status, body });
                        tokio::time::sleep(PAUSE).await;
                    }
                });
            }
        }
        Self { samples, stop, tasks, callers }
    }

    /// Whether, since a moment, every caller got a good answer and nobody a bad one that was asked after it.
    pub fn all_good_since(&self, moment: Instant) -> Result<()> {
        let samples = self.samples.lock().unwrap();
        let asked: Vec<&Sample> = samples.iter().filter(|sample| sample.began >= moment).collect();
        let bad = asked.iter().rev().find(|sample| sample.status != Some(200));
        if let Some(bad) = bad {
            anyhow::bail!("{bad:?}");
        }
        ensure!(asked.len() >= self.callers, "only {} answers yet", asked.len());
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
