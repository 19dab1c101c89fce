//! Files that are read again when they change, and at SIGHUP: what was read before stays in use until the new is whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use roadstead_runtime::{OnFailure, Tasks};

use crate::tls::Error;

/// How often the files' times are looked at. SIGHUP looks at once.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Changes when a file is written or replaced; following links, as mounted secrets are.
pub(crate) type Stamp = Option<Vec<(SystemTime, u64)>>;

/// How files look now.
pub(crate) fn stamp(paths: &[PathBuf]) -> Stamp {
    let look = |path: &PathBuf| {
        let data = std::fs::metadata(path).ok()?;
        Some((data.modified().ok()?, data.len()))
    };
    paths.iter().map(look).collect()
}

/// What is followed.
pub(crate) struct Followed<L, K> {
    /// The first is named in the log.
    pub(crate) paths: Vec<PathBuf>,
    /// How they looked before they were read.
    pub(crate) seen: Stamp,
    /// Reads them.
    pub(crate) load: L,
    /// Takes what was read.
    pub(crate) keep: K,
}

/// Follows files until the process stops.
pub(crate) fn follow<T, L, K>(followed: Followed<L, K>, tasks: &Tasks)
where
    T: Send + 'static,
    L: Fn() -> Result<T, Error> + Send + Sync + 'static,
    K: Fn(T) + Send + Sync + 'static,
{
    let followed = Arc::new(followed);
    let stopping = tasks.stopping();
    tasks.run("tls-reload", OnFailure::Restart, move || {
        let (followed, stopping) = (Arc::clone(&followed), stopping.clone());
        async move { stopping.run_until_cancelled_owned(look(followed)).await.unwrap_or(Ok(())) }
    });
}

async fn look<T, L, K>(followed: Arc<Followed<L, K>>) -> anyhow::Result<()>
where
    T: Send + 'static,
    L: Fn() -> Result<T, Error> + Send + Sync + 'static,
    K: Fn(T) + Send + Sync + 'static,
{
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    let mut tick = tokio::time::interval(LOOK_EVERY);
    let mut seen = followed.seen.clone();
    let named = followed.paths.first().map_or_else(String::new, |path: &PathBuf| shown(path));
    loop {
        let told = tokio::select! {
            _ = tick.tick() => false,
            _ = hangup.recv() => true,
        };
        let (reader, before) = (Arc::clone(&followed), seen.clone());
        // Two or three small files; still not on a thread that serves requests.
        let (now, loaded) = tokio::task::spawn_blocking(move || {
            let now = stamp(&reader.paths);
            let changed = told || now != before;
            (now, changed.then(|| (reader.load)()))
        })
        .await?;
        seen = now;
        match loaded {
            None => {}
            Some(Ok(loaded)) => {
                (followed.keep)(loaded);
                tracing::info!("certificate {named} read again");
            }
            Some(Err(fault)) => tracing::warn!("the certificate in use stays: {fault}"),
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
