//! Watches what is remembered while a session lasts. One task: the watches run inside it and only say which objects may have
//! changed; those are read one after another, at most once a second each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use futures_util::stream::FuturesUnordered;
use roadstead_contracts::drift::{DriftCounts, DriftReport, DriftState, DriftedObject};
use roadstead_contracts::operation::ObjectKey;
use roadstead_tunnel::Session;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::follow::{Heard, follow};
use super::memory::Known;
use super::reports::{DEBOUNCE, Reports};
use super::{Applied, Drift, fields};
use crate::kubernetes::Failure;
use crate::kubernetes::objects::{Objects, version_of};

/// Watches at once: each is a request that stays open. Above it kinds are watched in all namespaces together.
const WATCHES_MAX: usize = 64;
/// What watches may say before it is heard; then they wait, and the API server with them.
const HEARD_MAX: usize = 256;
/// Objects that are read before anything else is listened to.
const LOOKS: usize = 16;
/// Time for reading one object.
const LOOK_LIMIT: Duration = Duration::from_secs(10);
/// An object that could not be read is tried again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Failures of one group or object, while the API server shows others, after which the first report does not wait for it any
/// more: some two minutes. A definition whose converter is broken must not hide what everything else is like.
const TRIES: u32 = 8;

/// What is watched together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    pub(super) api_version: String,
    pub(super) kind: String,
    /// None: wherever they are.
    pub(super) namespace: Option<String>,
}

impl Group {
    pub(super) fn holds(&self, key: &ObjectKey) -> bool {
        self.api_version == key.api_version
            && self.kind == key.kind
            && (self.namespace.is_none() || self.namespace == key.namespace)
    }
}

/// How well a group is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// Not looked at yet.
    New,
    Seen,
    /// The cluster does not let the agent look.
    Blind,
}

struct Watching {
    sight: Sight,
    /// Its last round failed: what was seen stays seen.
    is_broken: bool,
    /// Failures before it was seen at all, while others were seen.
    failed: u32,
    stop: AbortHandle,
}

impl Watching {
    fn is_blind(&self) -> bool {
        self.sight == Sight::Blind || (self.sight == Sight::New && self.failed > 0)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.stop.abort();
    }
}

/// Watches until the session ends. `taken` has the revision of the last report that the hub stored.
pub(crate) async fn watch(drift: Arc<Drift>, session: Session, mut taken: watch::Receiver<u64>) {
    let objects = match drift.objects() {
        Ok(objects) => objects,
        Err(failure) => return tracing::warn!("drift is not watched: {failure}"),
    };
    let mut watcher = Watcher::new(drift, objects);
    tokio::select! {
        _ = session.closed() => {}
        () = watcher.run(&session, &mut taken) => {}
    }
}

struct Watcher {
    drift: Arc<Drift>,
    objects: Objects,
    groups: BTreeMap<Group, Watching>,
    following: FuturesUnordered<Abortable<BoxFuture<'static, ()>>>,
    tell: mpsc::Sender<Heard>,
    heard: mpsc::Receiver<Heard>,
    /// Objects to read, and when.
    due: BTreeMap<ObjectKey, Instant>,
    /// Version and mark with which an object was seen last.
    seen: HashMap<ObjectKey, (String, u64)>,
    /// Objects that a list showed otherwise than they were left and that were not read since, with how often that failed.
    unread: BTreeMap<ObjectKey, u32>,
    /// Objects that may not be read.
    unseen: BTreeSet<ObjectKey>,
    drifted: BTreeMap<ObjectKey, DriftedObject>,
    /// Up to here what was noted is known.
    noted: u64,
    reports: Reports,
}

impl Watcher {
    fn new(drift: Arc<Drift>, objects: Objects) -> Self {
        let (tell, heard) = mpsc::channel(HEARD_MAX);
        Self {
            drift,
            objects,
            groups: BTreeMap::new(),
            following: FuturesUnordered::new(),
            tell,
            heard,
            due: BTreeMap::new(),
            seen: HashMap::new(),
            unread: BTreeMap::new(),
            unseen: BTreeSet::new(),
            drifted: BTreeMap::new(),
            noted: 0,
            reports: Reports::new(),
        }
    }

    async fn run(&mut self, session: &Session, taken: &mut watch::Receiver<u64>) {
        let mut changes = self.drift.memory.changes();
        let mut plan_at = Some(Instant::now());
        if self.drift.memory.is_used() || self.drift.memory.is_new {
            self.reports.touch();
        }
        loop {
            let far = Instant::now() + Duration::from_secs(3_600);
            let look_at = self.due.values().min().copied();
            let report_at = self.reports.due();
            tokio::select! {
                Some(heard) = self.heard.recv() => self.hear(heard),
                // One that ends was told to.
                _ = self.following.next(), if !self.following.is_empty() => {}
                changed = changes.changed() => match changed {
                    // Of many objects that are applied the first waits for the others.
                    Ok(()) => plan_at = Some(plan_at.unwrap_or_else(|| Instant::now() + DEBOUNCE)),
                    Err(_) => return,
                },
                Ok(()) = taken.changed() => {
                    let revision = *taken.borrow_and_update();
                    self.taken(revision);
                }
                () = sleep_until(plan_at.unwrap_or(far)), if plan_at.is_some() => {
                    plan_at = None;
                    // Copied: whoever notes something waits for a lock that is read here.
                    let noted = *changes.borrow_and_update();
                    self.plan(noted);
                }
                () = sleep_until(look_at.unwrap_or(far)), if look_at.is_some() => self.look().await,
                () = sleep_until(report_at.unwrap_or(far)), if report_at.is_some() => self.report(session),
            }
        }
    }

    fn taken(&mut self, revision: u64) {
        if !self.reports.taken(revision) {
            return;
        }
        if self.drift.memory.is_new
            && let Err(error) = self.drift.memory.keep_folder()
        {
            tracing::debug!("the folder for drift was not made: {error}");
        }
        // What changed while it was under way.
        self.reports.touch();
    }

    /// Watches what is remembered now, and nothing else.
    fn plan(&mut self, noted: u64) {
        let known = self.drift.memory.all();
        let remembered: BTreeSet<&ObjectKey> = known.iter().map(|known| &known.key).collect();
        self.drifted.retain(|key, _| remembered.contains(key));
        self.due.retain(|key, _| remembered.contains(key));
        self.seen.retain(|key, _| remembered.contains(key));
        self.unread.retain(|key, _| remembered.contains(key));
        self.unseen.retain(|key| remembered.contains(key));
        let wanted = groups(&known);
        self.groups.retain(|group, _| wanted.contains(group));
        for group in wanted {
            if self.groups.contains_key(&group) {
                continue;
            }
            let following: BoxFuture<'static, ()> =
                Box::pin(follow(self.objects.clone(), group.clone(), Arc::clone(&self.drift), self.tell.clone()));
            let (following, stop) = futures_util::future::abortable(following);
            self.following.push(following);
            self.groups.insert(group, Watching { sight: Sight::New, is_broken: false, failed: 0, stop });
        }
        for Known { key, version, noted, .. } in known {
            if noted <= self.noted {
                continue;
            }
            // What an operation has just left is as it left it, unless something was seen since.
            let is_told = self.drifted.contains_key(&key);
            let is_newer = self.seen.get(&key).is_some_and(|(seen, _)| *seen != version);
            if is_told || is_newer {
                self.due.insert(key, Instant::now());
            }
        }
        self.noted = noted;
        if self.drift.memory.is_used() {
            self.reports.touch();
        }
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Listed { group, objects } => {
                self.sight(&group, Sight::Seen);
                let mut listed: HashMap<ObjectKey, (String, u64)> = objects.into_iter().collect();
                for Known { key, version, .. } in self.drift.memory.all() {
                    if !group.holds(&key) {
                        continue;
                    }
                    match listed.remove(&key) {
                        Some(seen) if seen.0 == version => {
                            self.settle(&key);
                            self.seen.insert(key, seen);
                        }
                        Some(seen) => {
                            self.seen.insert(key.clone(), seen);
                            self.read_now(key);
                        }
                        // Not there, or beyond the pages that were read.
                        None => self.read_now(key),
                    }
                }
            }
            Heard::There { key, version, mark } => {
                let known = self.seen.insert(key.clone(), (version, mark));
                if known.is_none_or(|(_, known)| known != mark) {
                    self.due.entry(key).or_insert_with(|| Instant::now() + DEBOUNCE);
                }
            }
            Heard::Gone { key } => {
                self.seen.remove(&key);
                self.due.entry(key).or_insert_with(|| Instant::now() + DEBOUNCE);
            }
            Heard::NoKind { group } => {
                self.sight(&group, Sight::Seen);
                for Known { key, .. } in self.drift.memory.all() {
                    if group.holds(&key) {
                        self.read_now(key);
                    }
                }
            }
            Heard::Failed { group } => self.failed(&group),
            Heard::Blind { group } => {
                self.sight(&group, Sight::Blind);
                // What was known of them is too old to be told.
                self.drifted.retain(|key, _| !group.holds(key));
                self.due.retain(|key, _| !group.holds(key));
                self.unread.retain(|key, _| !group.holds(key));
            }
        }
        self.reports.touch();
    }

    fn sight(&mut self, group: &Group, sight: Sight) {
        if let Some(watching) = self.groups.get_mut(group) {
            (watching.sight, watching.is_broken) = (sight, false);
        }
    }

    /// A group could not be looked at. One that never was is given up only while others are seen: an API server that is away
    /// says nothing about anything.
    fn failed(&mut self, group: &Group) {
        let answers = self.answers();
        let Some(watching) = self.groups.get_mut(group) else { return };
        watching.is_broken = true;
        if watching.sight == Sight::New && answers {
            watching.failed += 1;
            if watching.failed >= TRIES {
                watching.sight = Sight::Blind;
            }
        }
    }

    /// Whether the API server shows anything.
    fn answers(&self) -> bool {
        self.groups.values().any(|watching| watching.sight == Sight::Seen && !watching.is_broken)
    }

    /// A list showed it otherwise than it was left.
    fn read_now(&mut self, key: ObjectKey) {
        self.unread.entry(key.clone()).or_default();
        self.due.insert(key, Instant::now());
    }

    fn settle(&mut self, key: &ObjectKey) {
        self.due.remove(key);
        self.unread.remove(key);
        self.unseen.remove(key);
        self.drifted.remove(key);
    }

    /// Reads objects whose time has come.
    async fn look(&mut self) {
        let now = Instant::now();
        let keys: Vec<ObjectKey> =
            self.due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).take(LOOKS).collect();
        for key in keys {
            self.due.remove(&key);
            let Some(known) = self.drift.memory.find(&key) else { continue };
            if self.seen.get(&key).is_some_and(|(seen, _)| *seen == known.version) {
                self.settle(&key);
                continue;
            }
            match timeout(LOOK_LIMIT, live(&self.objects, &key)).await.unwrap_or(Err(Failure::Expired)) {
                Ok(live) => self.compare(&key, live.as_ref()),
                Err(Failure::Forbidden(_) | Failure::MayNotImpersonate(_)) => {
                    self.drifted.remove(&key);
                    self.unread.remove(&key);
                    self.unseen.insert(key);
                }
                Err(failure) => {
                    tracing::debug!("an object was not looked at: {failure}");
                    let answers = self.answers();
                    if let Some(tries) = self.unread.get_mut(&key) {
                        *tries += u32::from(answers);
                    }
                    self.due.insert(key, now + LOOK_AGAIN);
                }
            }
        }
        self.reports.touch();
    }

    fn compare(&mut self, key: &ObjectKey, live: Option<&Value>) {
        self.unread.remove(key);
        self.unseen.remove(key);
        let (applied, digests) = match (self.drift.memory.read(key), self.drift.memory.digests()) {
            (Ok(Some(applied)), Ok(digests)) => (applied, digests),
            (Ok(None), _) => return self.settle(key),
            (Err(error), _) | (_, Err(error)) => {
                return tracing::warn!("what is watched for drift cannot be read: {error}");
            }
        };
        let Some(live) = live else { return self.tell_of(applied, DriftState::Missing, Vec::new(), 0) };
        // What comes between this and the watch's own word is looked at again.
        if let Some(seen) = self.seen.get_mut(key) {
            version_of(live).clone_into(&mut seen.0);
        }
        let (fields, more) = fields::differing(&applied.fields, live, key, &digests);
        if fields.is_empty() {
            self.settle(key);
        } else {
            self.tell_of(applied, DriftState::Changed, fields, more);
        }
    }

    fn tell_of(
        &mut self,
        applied: Applied,
        state: DriftState,
        fields: Vec<roadstead_contracts::drift::DriftedField>,
        more_fields: u32,
    ) {
        let Applied { key, operation, .. } = applied;
        let object = DriftedObject { key: key.clone(), state, operation_id: operation, fields, more_fields };
        self.drifted.insert(key, object);
    }

    /// Tells the hub; at first only once everything was looked at, however long the API server is away: what is not named
    /// counts as put right there, and the hub's own last word is better than that.
    fn report(&mut self, session: &Session) {
        let is_new = self.groups.values().any(|watching| watching.sight == Sight::New)
            || self.unread.values().any(|tries| *tries < TRIES)
            || (self.groups.is_empty() && self.drift.memory.len() > 0);
        if is_new && self.reports.is_first() {
            return self.reports.postpone();
        }
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let blind = |key: &ObjectKey| {
            self.unseen.contains(key)
                || self.unread.get(key).is_some_and(|tries| *tries >= TRIES)
                || self.groups.iter().any(|(group, watching)| watching.is_blind() && group.holds(key))
                // Of more kinds than may be watched.
                || (self.groups.len() >= WATCHES_MAX && !self.groups.keys().any(|group| group.holds(key)))
        };
        let all = self.drift.memory.all();
        // What was forgotten a moment ago is not told once more.
        self.drifted.retain(|key, _| self.drift.memory.find(key).is_some());
        let counts = DriftCounts {
            remembered: count(all.len()),
            drifted: count(self.drifted.len()),
            unseen: count(all.iter().filter(|known| blind(&known.key)).count()),
            left_out: self.drift.memory.left_out(),
        };
        let objects = self.drifted.values().cloned().collect();
        self.reports.report(DriftReport { revision: 0, counts, objects }, session);
    }
}

/// The object now. Without its kind it cannot be there.
async fn live(objects: &Objects, key: &ObjectKey) -> Result<Option<Value>, Failure> {
    match objects.find(key).await? {
        Some(at) => objects.get(&at).await,
        None => Ok(None),
    }
}

/// A group for each kind and namespace; of too many, kinds with the most namespaces are watched in all of them together.
fn groups(known: &[Known]) -> BTreeSet<Group> {
    let mut groups: BTreeSet<Group> = known
        .iter()
        .map(|Known { key, .. }| Group {
            api_version: key.api_version.clone(),
            kind: key.kind.clone(),
            namespace: key.namespace.clone(),
        })
        .collect();
    while groups.len() > WATCHES_MAX {
        let mut places: BTreeMap<(String, String), usize> = BTreeMap::new();
        for group in groups.iter().filter(|group| group.namespace.is_some()) {
            *places.entry((group.api_version.clone(), group.kind.clone())).or_default() += 1;
        }
        let Some(((api_version, kind), _)) = places.into_iter().max_by_key(|(_, count)| *count) else { break };
        groups.retain(|group| group.api_version != api_version || group.kind != kind);
        groups.insert(Group { api_version, kind, namespace: None });
    }
    groups.into_iter().take(WATCHES_MAX).collect()
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
