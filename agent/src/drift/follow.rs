//! Follows the objects of one kind and place: a list without the objects, then a watch without them that is taken up again
//! wherever it ended.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use roadstead_contracts::operation::ObjectKey;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::Drift;
use super::watch::Group;
use crate::kubernetes::Failure;
use crate::kubernetes::objects::{Objects, Seen, Sighting};

/// Pages of the first list. Of a larger collection every remembered object is read instead.
const PAGES_MAX: usize = 50;
/// First and longest wait after a failure.
const AGAIN: Duration = Duration::from_secs(1);
/// See [`AGAIN`].
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// First and longest wait where the cluster does not have a kind, or does not show it: bindings that were just made take a
/// moment.
const BLIND: Duration = Duration::from_secs(15);
/// See [`BLIND`].
const BLIND_MAX: Duration = Duration::from_secs(300);
/// A watch that ends sooner than this is not begun again at once.
const SHORT: Duration = Duration::from_secs(1);

/// What is heard of a group. Only of remembered objects.
#[derive(Debug)]
pub(super) enum Heard {
    /// The watch begins; these are there, with version and mark.
    Listed {
        group: Group,
        objects: Vec<(ObjectKey, (String, u64))>,
    },
    /// An object is at this version.
    There {
        key: ObjectKey,
        version: String,
        mark: u64,
    },
    Gone {
        key: ObjectKey,
    },
    /// The cluster has no such kind.
    NoKind {
        group: Group,
    },
    /// The cluster does not let the agent look.
    Blind {
        group: Group,
    },
    /// It could not be looked at; that is tried again.
    Failed {
        group: Group,
    },
}

/// Follows a group until the future is dropped, or nobody hears any more.
pub(super) async fn follow(objects: Objects, group: Group, drift: Arc<Drift>, tell: mpsc::Sender<Heard>) {
    let one = Follower { objects, group, drift, tell };
    let (mut wait, mut blind) = (AGAIN, BLIND);
    loop {
        let began = Instant::now();
        let pause = match one.round().await {
            Err(Ended::Unheard) => return,
            Err(Ended::Failed(Failure::NotFound)) => {
                // Its definition is gone, or there is another version of it.
                one.objects.forget_kinds();
                let group = one.group.clone();
                if one.tell.send(Heard::NoKind { group }).await.is_err() {
                    return;
                }
                longer(&mut blind, BLIND_MAX)
            }
            Err(Ended::Failed(failure)) if is_blind(&failure) => {
                tracing::info!(kind = %one.group.kind, "objects of this kind are not watched for drift: {failure}");
                let group = one.group.clone();
                if one.tell.send(Heard::Blind { group }).await.is_err() {
                    return;
                }
                longer(&mut blind, BLIND_MAX)
            }
            // The place is too old: a list shows what was missed.
            Err(Ended::Failed(Failure::Expired)) if began.elapsed() > SHORT => Duration::ZERO,
            Err(Ended::Failed(failure)) => {
                tracing::debug!(kind = %one.group.kind, "a watch for drift failed: {failure}");
                let group = one.group.clone();
                if one.tell.send(Heard::Failed { group }).await.is_err() {
                    return;
                }
                if began.elapsed() > AGAIN_MAX {
                    (wait, blind) = (AGAIN, BLIND);
                }
                longer(&mut wait, AGAIN_MAX)
            }
        };
        sleep(pause).await;
    }
}

/// This wait; the next one is twice as long.
fn longer(wait: &mut Duration, most: Duration) -> Duration {
    std::mem::replace(wait, (*wait * 2).min(most))
}

/// Whether looking again soon would not help.
fn is_blind(failure: &Failure) -> bool {
    match failure {
        Failure::Forbidden(_) | Failure::MayNotImpersonate(_) | Failure::Unauthorized => true,
        // Not every kind can be listed and watched.
        Failure::Unexpected(detail) => detail.starts_with("405 "),
        _ => false,
    }
}

/// Why a round ended.
enum Ended {
    Failed(Failure),
    /// Nobody hears it.
    Unheard,
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

struct Follower {
    objects: Objects,
    group: Group,
    drift: Arc<Drift>,
    tell: mpsc::Sender<Heard>,
}

impl Follower {
    /// Lists, then watches until that fails.
    async fn round(&self) -> Result<std::convert::Infallible, Ended> {
        let Group { api_version, kind, namespace } = &self.group;
        let found = self.objects.collection(api_version, kind, namespace.as_deref()).await?;
        let collection = found.ok_or(Failure::NotFound)?;
        let mut version = self.list(&collection).await?;
        loop {
            let began = Instant::now();
            let mut seen = pin!(self.objects.sightings(&collection, &version).await?);
            while let Some(next) = seen.next().await {
                match next {
                    Ok(Seen::There(sighting)) => {
                        version.clone_from(&sighting.version);
                        if let Some(key) = self.remembered(&sighting) {
                            let Sighting { version, mark, .. } = sighting;
                            self.tell(Heard::There { key, version, mark }).await?;
                        }
                    }
                    Ok(Seen::Gone(sighting)) => {
                        version.clone_from(&sighting.version);
                        if let Some(key) = self.remembered(&sighting) {
                            self.tell(Heard::Gone { key }).await?;
                        }
                    }
                    Ok(Seen::Version(later)) => version = later,
                    Err(Failure::Expired) => return Err(Failure::Expired.into()),
                    // The connection broke: taken up at the version that was reached.
                    Err(failure) => {
                        tracing::debug!(kind = %self.group.kind, "a watch for drift broke: {failure}");
                        break;
                    }
                }
            }
            if began.elapsed() < SHORT {
                sleep(SHORT).await;
            }
        }
    }

    /// Says which remembered objects are there; answers the version from which to watch.
    async fn list(&self, collection: &str) -> Result<String, Ended> {
        let (mut found, mut version, mut next) = (Vec::new(), String::new(), None);
        for number in 0..PAGES_MAX {
            let page = self.objects.sighted(collection, next.as_deref()).await?;
            if number == 0 {
                version = page.version;
            }
            for sighting in page.objects {
                if let Some(key) = self.remembered(&sighting) {
                    found.push((key, (sighting.version, sighting.mark)));
                }
            }
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        self.tell(Heard::Listed { group: self.group.clone(), objects: found }).await?;
        Ok(version)
    }

    fn remembered(&self, sighting: &Sighting) -> Option<ObjectKey> {
        let key = ObjectKey {
            api_version: self.group.api_version.clone(),
            kind: self.group.kind.clone(),
            namespace: sighting.namespace.clone(),
            name: sighting.name.clone(),
        };
        // As it is remembered, which may be in another version of its group: then another watch is about it.
        self.drift.memory.find(&key).map(|known| known.key).filter(|known| *known == key)
    }

    async fn tell(&self, heard: Heard) -> Result<(), Ended> {
        self.tell.send(heard).await.map_err(|_| Ended::Unheard)
    }
}
