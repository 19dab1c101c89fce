//! The life of a process's tasks.
//!
//! On a stop signal: [`Tasks::stopping`] fires (take no new work), what runs may finish within the grace period, then
//! [`Tasks::cutting`] fires and whatever is left is dropped.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

/// First wait before a failed task runs again.
const RESTART_BASE: Duration = Duration::from_millis(100);
/// Longest wait before a failed task runs again: an outage of minutes must not leave a service idle for minutes more.
const RESTART_CAP: Duration = Duration::from_secs(10);
/// A task that ran this long before it failed starts again at the first wait.
const STABLE: Duration = Duration::from_secs(60);

/// What a failed task means for the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Log it; the process goes on without it.
    Log,
    /// Run it again, with back-off.
    Restart,
    /// Stop the process: it cannot do its work without it.
    Stop,
}

/// Starts tasks by name, and ends them together. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    supporting: TaskTracker,
    stopping: CancellationToken,
    cutting: CancellationToken,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task that ends by itself (a connection, one request). It is dropped at the cut.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let cutting = self.cutting.clone();
        #[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
        tokio::spawn(self.tracker.track_future(async move {
            if cutting.run_until_cancelled_owned(future).await.is_none() {
                tracing::debug!("task {name} was cut");
            }
        }));
    }

    /// Starts a task that serves the others until the end (it reads their answers, keeps their connection): it does not
    /// hold a stop up, and is dropped at the cut.
    pub fn support<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let cutting = self.cutting.clone();
        #[expect(clippy::disallowed_methods, reason = "beside `spawn` the one place that starts tasks")]
        tokio::spawn(self.supporting.track_future(async move {
            if cutting.run_until_cancelled_owned(future).await.is_none() {
                tracing::debug!("task {name} ended with the process");
            }
        }));
    }

    /// Starts a long-running part of the process, made anew by `make` for each run.
    pub fn run<M, F>(&self, name: &'static str, on_failure: OnFailure, make: M)
    where
        M: Fn() -> F + Send + 'static,
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let tasks = self.clone();
        self.spawn(name, async move {
            let mut wait = RESTART_BASE;
            loop {
                let began = tokio::time::Instant::now();
                let Err(fault) = make().await else { return };
                match on_failure {
                    OnFailure::Log => {
                        error!("task {name} failed: {fault:#}");
                        return;
                    }
                    OnFailure::Stop => {
                        error!("task {name} failed, stopping: {fault:#}");
                        tasks.stop();
                        return;
                    }
                    OnFailure::Restart => {
                        if began.elapsed() > STABLE {
                            wait = RESTART_BASE;
                        }
                        warn!("task {name} failed, again in {wait:?}: {fault:#}");
                        let stopping = tasks.stopping();
                        tokio::select! {
                            () = stopping.cancelled() => return,
                            () = tokio::time::sleep(wait) => {}
                        }
                        wait = (wait * 2).min(RESTART_CAP);
                    }
                }
            }
        });
    }

    /// Fires when no new work may be taken.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Fires when whatever is left is dropped.
    pub fn cutting(&self) -> CancellationToken {
        self.cutting.clone()
    }

    /// Begins to stop.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Drops whatever is left.
    pub fn cut(&self) {
        self.stopping.cancel();
        self.cutting.cancel();
    }

    /// Stops, waits for what runs up to the grace period, then cuts.
    pub async fn finish(&self, grace: Duration) {
        self.stop();
        self.tracker.close();
        tokio::select! {
            () = self.tracker.wait() => {}
            () = self.cutting.cancelled() => {}
            () = tokio::time::sleep(grace) => info!("{} tasks cut after {grace:?}", self.tracker.len()),
        }
        self.cut();
        self.tracker.wait().await;
        self.supporting.close();
        self.supporting.wait().await;
    }
}

/// Waits until the process is told to stop (SIGTERM, SIGINT, or a task that may not fail did), and begins to stop.
/// A second signal cuts at once.
pub async fn wait_for_signal(tasks: &Tasks) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stopping = tasks.stopping();
    tokio::select! {
        _ = terminate.recv() => info!("told to stop"),
        _ = interrupt.recv() => info!("told to stop"),
        () = stopping.cancelled() => {}
    }
    tasks.stop();
    let again = tasks.clone();
    tasks.support("second-signal", async move {
        tokio::select! {
            _ = terminate.recv() => again.cut(),
            _ = interrupt.recv() => again.cut(),
            () = async { again.tracker.wait().await } => {}
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failed_task_runs_again_and_ends_with_the_process() {
        let tasks = Tasks::new();
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        tasks.run("flaky", OnFailure::Restart, move || {
            let counted = Arc::clone(&counted);
            async move {
                counted.fetch_add(1, Ordering::SeqCst);
                anyhow::bail!("no luck")
            }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(runs.load(Ordering::SeqCst) >= 3);
        tasks.finish(Duration::from_secs(1)).await;
        let after = runs.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(runs.load(Ordering::SeqCst), after);
    }

    #[tokio::test(start_paused = true)]
    async fn supporting_tasks_do_not_hold_a_stop_up() {
        let tasks = Tasks::new();
        tasks.support("answers", std::future::pending());
        let began = tokio::time::Instant::now();
        tasks.finish(Duration::from_secs(5)).await;
        assert!(began.elapsed() < Duration::from_secs(1) && tasks.cutting().is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_finish_in_the_grace_period_is_cut() {
        let tasks = Tasks::new();
        tasks.spawn("stuck", std::future::pending());
        tasks.finish(Duration::from_secs(5)).await;
        assert!(tasks.cutting().is_cancelled());
    }
}
