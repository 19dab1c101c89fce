//! Puts what a run wrote on the disk while its next object is applied; what is on the disk may be told.

use std::fs::File;
use std::io;
use std::sync::Arc;

use roadstead_runtime::Tasks;
use tokio::sync::watch;

use crate::operations::run::Run;

/// Length of the ledger, and objects finished in it.
type Mark = (u64, u32);

/// Syncs the ledger of one run.
pub(super) struct Keeper {
    wanted: watch::Sender<Mark>,
    kept: watch::Receiver<Result<u64, io::ErrorKind>>,
}

impl Keeper {
    /// For this ledger, which holds so much already.
    pub(super) fn start(file: File, run: Arc<Run>, tasks: &Tasks) -> Self {
        let (wanted, mut asked) = watch::channel((0, 0));
        let (keep, kept) = watch::channel(Ok(0));
        let file = Arc::new(file);
        tasks.spawn("operation-ledger", async move {
            while asked.changed().await.is_ok() {
                let (length, finished) = *asked.borrow_and_update();
                let file = Arc::clone(&file);
                let synced = tokio::task::spawn_blocking(move || file.sync_data()).await;
                match synced.unwrap_or_else(|error| Err(io::Error::other(error))) {
                    Ok(()) => {
                        run.progress.send_modify(|progress| {
                            progress.written = length;
                            progress.finished = finished;
                        });
                        let _ = keep.send_replace(Ok(length));
                    }
                    Err(error) => {
                        let _ = keep.send_replace(Err(error.kind()));
                        return;
                    }
                }
            }
        });
        Self { wanted, kept }
    }

    /// Asks for everything up to here; fails when something before did.
    pub(super) fn ask(&self, length: u64, finished: u32) -> io::Result<()> {
        let kept = *self.kept.borrow();
        kept?;
        self.wanted.send_replace((length, finished));
        Ok(())
    }

    /// Waits until everything that was asked for is on the disk.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let (length, _) = *self.wanted.borrow();
        let reached = self.kept.wait_for(|kept| kept.is_err() || kept.is_ok_and(|kept| kept >= length)).await;
        match reached {
            Ok(kept) => (*kept).map(drop).map_err(io::Error::from),
            Err(_) => Err(io::Error::other("the ledger is not synced any more")),
        }
    }
}
