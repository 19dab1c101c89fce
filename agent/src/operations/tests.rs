use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use super::*;

fn operation() -> OperationId {
    "0198c5b0-0000-7000-8000-000000000001".parse().unwrap()
}

/// Asks a future once.
async fn is_pending(mut asked: Pin<&mut impl Future>) -> bool {
    poll_fn(|context| Poll::Ready(asked.as_mut().poll(context).is_pending())).await
}

/// A run that stops writes what it skips. Killed then, with no stop on the disk, it was called too late by the next process.
#[test]
fn regression_a_stop_is_on_the_disk_before_it_counts() {
    roadstead_runtime::install_crypto();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // A disk that is busy: nothing else gets to it while this thread is taken.
    let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let cluster = Cluster::with_config(config, false).unwrap();
        let operations = Operations::new(cluster, Some(path.clone()));
        let about = About {
            epoch: 1,
            digest: "d".to_owned(),
            repeatable: true,
            objects: 1,
            path: path.join(format!("{}.1.run", operation())),
        };
        let run = Arc::new(Run::new(about, Progress::default()));
        operations.runs.lock().await.insert(operation(), Arc::clone(&run));
        let request = CancelRun { operation_id: operation(), epoch: 1 };
        let stop = path.join(format!("{}.1.cancel", operation()));

        let (release, busy) = std::sync::mpsc::channel::<()>();
        let disk = tokio::task::spawn_blocking(move || busy.recv());
        let mut asked = Box::pin(operations.cancel(&request));
        assert!(is_pending(asked.as_mut()).await);
        assert!(!stop.exists() && !*run.cancel.borrow(), "it stops, and the disk does not know");
        release.send(()).unwrap();
        disk.await.unwrap().unwrap();
        assert_eq!(asked.await.unwrap(), CancelledRun::Stopping);
        assert!(stop.exists() && *run.cancel.borrow());

        // Whoever asked does not wait for the answer.
        run.cancel.send_replace(false);
        let mut asked = Box::pin(operations.cancel(&request));
        assert!(is_pending(asked.as_mut()).await);
        drop(asked);
        let mut told = run.cancel.subscribe();
        tokio::time::timeout(Duration::from_secs(10), told.wait_for(|told| *told)).await.unwrap().unwrap();

        // It cannot be kept: it stops all the same, and the hub asks again.
        run.cancel.send_replace(false);
        std::fs::remove_dir_all(&path).unwrap();
        operations.cancel(&request).await.unwrap_err();
        assert!(*run.cancel.borrow());
    });
}
