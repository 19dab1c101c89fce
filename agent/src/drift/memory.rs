//! What operations applied and nobody took back since: on disk, in one file of lines that are only added, and written anew
//! when most of them are over. In memory stands where each object's line is, not what it says.
//!
//! A line is in the kernel's hands before the operation tells the hub of the object: a killed agent forgets nothing. A last
//! line that was cut off is dropped; a line that cannot be read is passed over, and its object is watched again from its next
//! operation on. Without anything to remember there is no file.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use roadstead_contracts::ids::OperationId;
use roadstead_contracts::operation::ObjectKey;
use roadstead_runtime::{Ids, SystemClock};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::fields::{DigestKey, Field};
use super::gone::Gone;
use crate::files;

/// Objects that are remembered: as many as one operation may have. What comes later is left out and counted.
pub(super) const OBJECTS_MAX: usize = 5_000;
/// Longest line: an object of a thousand fields with paths of a hundred bytes.
const LINE_MAX: usize = 256 * 1024;
/// Lines that are over before the file is written anew, beside as many as are not.
const SPARE_LINES: usize = 1_000;
const FILE: &str = "applied";
const FRESH: &str = "applied.new";
const KEY: &str = "key";
const FRESH_KEY: &str = "key.new";

/// An object as an operation left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    /// Which, with the namespace it really has.
    pub(super) key: ObjectKey,
    /// The operation.
    pub(super) operation: OperationId,
    /// Its `resourceVersion` then.
    pub(super) version: String,
    /// The fields that were applied.
    pub(super) fields: Vec<Field>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Applied(Applied),
    /// Taken back by an operation.
    Gone(ObjectKey),
}

/// What an object is called in any version of its group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) namespace: Option<String>,
    name: String,
}

impl Place {
    pub(super) fn of(key: &ObjectKey) -> Self {
        Self {
            group: key.api_version.split_once('/').map_or_else(String::new, |(group, _)| group.to_owned()),
            kind: key.kind.clone(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
        }
    }
}

/// A remembered object, without its fields.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) key: ObjectKey,
    pub(super) version: String,
    /// When it was noted, as [`Memory::changes`] counts.
    pub(super) noted: u64,
    at: u64,
    length: usize,
}

#[cfg(test)]
impl Known {
    pub(super) fn new(key: ObjectKey) -> Self {
        Self { key, version: String::new(), noted: 0, at: 0, length: 0 }
    }
}

#[derive(Debug, Default)]
struct Inner {
    known: HashMap<Place, Known>,
    file: Option<File>,
    /// Bytes and lines in the file.
    length: u64,
    lines: usize,
    key: Option<DigestKey>,
    left_out: u32,
    /// The file says what is not so any more, because a line could not be added to it.
    is_wrong: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Memory {
    folder: PathBuf,
    inner: Mutex<Inner>,
    changes: watch::Sender<u64>,
    /// Nothing was ever remembered in this folder: the hub may know drift from a folder that was lost.
    pub(super) is_new: bool,
}

impl Memory {
    /// Reads what the folder remembers. A folder that is not there is made with the first object.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        let path = folder.join(FILE);
        let is_new = !folder.exists();
        let mut inner = Inner::default();
        if path.exists() {
            let file = private().append(true).open(&path)?;
            read(&mut BufReader::new(&file), &mut inner)?;
            if file.metadata()?.len() > inner.length {
                file.set_len(inner.length)?;
            }
            if !inner.known.is_empty() {
                inner.key = stored_key(&folder)?;
                if inner.key.is_none() {
                    tracing::warn!(
                        "the key of what is watched for drift is lost: it is watched from its next operations on"
                    );
                    file.set_len(0)?;
                    inner = Inner::default();
                }
            }
            inner.file = Some(file);
        }
        Ok(Self { folder, inner: Mutex::new(inner), changes: watch::Sender::new(0), is_new })
    }

    /// The hub has heard that nothing is remembered here.
    pub(super) fn keep_folder(&self) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)
    }

    /// Counts up with each change.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The key of the digests; made when there is none.
    pub(super) fn digests(&self) -> io::Result<DigestKey> {
        let mut inner = self.lock();
        if let Some(key) = &inner.key {
            return Ok(key.clone());
        }
        self.keep_folder()?;
        let key = match stored_key(&self.folder)? {
            Some(key) => key,
            None => new_key(&self.folder)?,
        };
        inner.key = Some(key.clone());
        Ok(key)
    }

    /// Remembers objects as they were left now. What cannot be written is not remembered: as it was left before it is not any
    /// more. The file says so as soon as it can be written.
    pub(super) fn note(&self, applied: Vec<Applied>) -> io::Result<()> {
        let mut inner = self.lock();
        let number = *self.changes.borrow() + 1;
        let mut noted = Ok(());
        for applied in applied {
            noted = noted.and(self.note_one(&mut inner, applied, number));
        }
        let rewritten = self.changed(&mut inner, noted.is_ok());
        noted.and(rewritten)
    }

    fn note_one(&self, inner: &mut Inner, applied: Applied, number: u64) -> io::Result<()> {
        let place = Place::of(&applied.key);
        let was_known = inner.known.remove(&place).is_some();
        let text = line(&Line::Applied(applied.clone()))?;
        if text.len() > LINE_MAX || (!was_known && inner.known.len() >= OBJECTS_MAX) {
            inner.left_out = inner.left_out.saturating_add(1);
            if was_known {
                self.append(inner, &line(&Line::Gone(applied.key))?)?;
            }
            return Ok(());
        }
        let at = self.append(inner, &text)?;
        let Applied { key, version, .. } = applied;
        inner.known.insert(place, Known { key, version, noted: number, at, length: text.len() });
        Ok(())
    }

    /// Forgets objects that an operation took back, with what went along. One that names no namespace may have been in the
    /// default one.
    pub(super) fn forget(&self, gone: &[Gone]) -> io::Result<()> {
        let mut inner = self.lock();
        let mut forgotten = Ok(());
        for gone in gone {
            let mut place = Place::of(&gone.key);
            if place.namespace.is_none() && !inner.known.contains_key(&place) {
                place.namespace = Some("default".to_owned());
            }
            let mut places = vec![place];
            if gone.took_others() {
                places.extend(inner.known.keys().filter(|place| gone.took(place)).cloned());
            }
            for place in places {
                let Some(known) = inner.known.remove(&place) else { continue };
                let written = line(&Line::Gone(known.key)).and_then(|text| self.append(&mut inner, &text));
                forgotten = forgotten.and(written.map(drop));
            }
        }
        let rewritten = self.changed(&mut inner, forgotten.is_ok());
        forgotten.and(rewritten)
    }

    /// Forgets every object.
    pub(super) fn clear(&self) -> io::Result<()> {
        let mut inner = self.lock();
        if inner.file.is_none() {
            return Ok(());
        }
        inner.known.clear();
        inner.is_wrong = true;
        let written = self.rewrite(&mut inner);
        self.changes.send_modify(|number| *number += 1);
        written
    }

    /// Every object that is remembered.
    pub(super) fn all(&self) -> Vec<Known> {
        self.lock().known.values().cloned().collect()
    }

    /// Whether an object is remembered, without what it was left as.
    pub(super) fn find(&self, key: &ObjectKey) -> Option<Known> {
        self.lock().known.get(&Place::of(key)).cloned()
    }

    /// An object as it was left.
    pub(super) fn read(&self, key: &ObjectKey) -> io::Result<Option<Applied>> {
        let inner = self.lock();
        let (Some(known), Some(file)) = (inner.known.get(&Place::of(key)), &inner.file) else { return Ok(None) };
        let mut text = vec![0; known.length];
        file.read_exact_at(&mut text, known.at)?;
        match serde_json::from_slice(&text) {
            Ok(Line::Applied(applied)) => Ok(Some(applied)),
            _ => Err(io::Error::other("the line of a remembered object is another one")),
        }
    }

    /// Whether anything was ever remembered.
    pub(super) fn is_used(&self) -> bool {
        self.lock().file.is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().known.len()
    }

    /// Objects that were not remembered since the agent began, because as many are as may be.
    pub(super) fn left_out(&self) -> u32 {
        self.lock().left_out
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line; gives its place. What could not be written whole is taken back.
    fn append(&self, inner: &mut Inner, text: &[u8]) -> io::Result<u64> {
        if inner.file.is_none() {
            self.keep_folder()?;
            inner.file = Some(private().append(true).create(true).open(self.folder.join(FILE))?);
        }
        let at = inner.length;
        if let Some(file) = &mut inner.file
            && let Err(error) = file.write_all(text)
        {
            inner.is_wrong = true;
            if file.set_len(at).is_err() {
                // A torn line stays; the next one stands behind it.
                inner.length = file.metadata().map_or(at, |about| about.len());
            }
            return Err(error);
        }
        inner.length += text.len() as u64;
        inner.lines += 1;
        Ok(at)
    }

    /// Counts a change. The file is written anew when most of it is over, or wrong: then only once there is room again.
    fn changed(&self, inner: &mut Inner, is_written: bool) -> io::Result<()> {
        let is_long = inner.lines > 2 * inner.known.len() + SPARE_LINES;
        let written = if is_long || (inner.is_wrong && is_written) { self.rewrite(inner) } else { Ok(()) };
        self.changes.send_modify(|number| *number += 1);
        written
    }

    /// Writes the lines that count into a new file, which takes the place of the old one at once or not at all.
    fn rewrite(&self, inner: &mut Inner) -> io::Result<()> {
        let path = self.folder.join(FRESH);
        let written = self.replace(inner, &path);
        if written.is_err() {
            // Half of it would only fill the disk.
            let _ = files::remove(&path);
        }
        written
    }

    fn replace(&self, inner: &mut Inner, path: &Path) -> io::Result<()> {
        let Some(old) = &inner.file else { return Ok(()) };
        // What a rewrite that was broken off left.
        files::remove(path)?;
        let mut fresh = private().append(true).create_new(true).open(path)?;
        let (mut places, mut length) = (Vec::with_capacity(inner.known.len()), 0);
        let mut text = Vec::new();
        for (place, known) in &inner.known {
            text.resize(known.length, 0);
            old.read_exact_at(&mut text, known.at)?;
            fresh.write_all(&text)?;
            places.push((place.clone(), length));
            length += known.length as u64;
        }
        fresh.sync_all()?;
        std::fs::rename(path, self.folder.join(FILE))?;
        inner.file = Some(fresh);
        inner.is_wrong = false;
        inner.length = length;
        inner.lines = places.len();
        for (place, at) in places {
            if let Some(known) = inner.known.get_mut(&place) {
                known.at = at;
            }
        }
        Ok(())
    }
}

/// Reads whole lines.
fn read(file: &mut BufReader<&File>, inner: &mut Inner) -> io::Result<()> {
    let mut text = Vec::new();
    loop {
        text.clear();
        let length = file.by_ref().take(LINE_MAX as u64 + 1).read_until(b'\n', &mut text)?;
        if text.last() != Some(&b'\n') {
            if length > LINE_MAX {
                return Err(io::Error::other("a line is longer than any that was written"));
            }
            return Ok(());
        }
        let at = inner.length;
        inner.length += length as u64;
        inner.lines += 1;
        match serde_json::from_slice(&text) {
            Ok(Line::Applied(Applied { key, version, .. })) => {
                inner.known.insert(Place::of(&key), Known { key, version, noted: 0, at, length });
            }
            Ok(Line::Gone(key)) => drop(inner.known.remove(&Place::of(&key))),
            Err(_) => tracing::warn!("a line of what is watched for drift cannot be read and is passed over"),
        }
    }
}

fn line(line: &Line) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(line).map_err(io::Error::other)?;
    text.push(b'\n');
    Ok(text)
}

/// For the agent's user only.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).mode(0o600);
    options
}

/// The key; none: it is not there, or was not written whole.
fn stored_key(folder: &Path) -> io::Result<Option<DigestKey>> {
    let mut key = [0; 32];
    match File::open(folder.join(KEY)).and_then(|mut file| file.read_exact(&mut key)) {
        Ok(()) => Ok(Some(DigestKey(key))),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a key that is there whole or not at all, whenever the machine dies.
fn new_key(folder: &Path) -> io::Result<DigestKey> {
    let key = Ids::system(SystemClock::shared()).random_bytes::<32>();
    let path = folder.join(FRESH_KEY);
    let mut file = private().write(true).create(true).truncate(true).open(&path)?;
    file.write_all(&key)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&path, folder.join(KEY))?;
    File::open(folder)?.sync_all()?;
    Ok(DigestKey(key))
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
