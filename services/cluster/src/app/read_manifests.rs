//! Reads manifests before anything else is done with them: what is wrong is told at the door, with its place. What goes on
//! is what came, file by file; the agent reads it again.

use bytes::Bytes;
use roadstead_contracts::operation::BODY_MAX;
use roadstead_contracts::{Code, Error, Result};
use roadstead_manifest::{bundle, keys, parse};
use tokio::sync::Semaphore;

use super::App;

/// Texts from this size on are read on a thread of their own: reading 64 KiB takes a millisecond.
const LARGE: usize = 64 * 1024;
/// Texts that are read at once. Each may take some 100 MiB while its objects stand in memory.
const AT_ONCE: usize = 4;

/// Callers in line for [`AT_ONCE`].
static READING: Semaphore = Semaphore::const_new(AT_ONCE);

/// A file of manifests.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    /// Its name, for messages.
    pub(crate) name: String,
    /// YAML or JSON.
    pub(crate) text: Bytes,
}

/// Manifests that were read.
pub(super) struct Manifests {
    /// All files as one body.
    pub(super) body: Vec<u8>,
    /// Objects in them.
    pub(super) documents: usize,
}

impl App {
    /// Reads files of manifests; the namespace is for objects that name none.
    pub(super) async fn read_manifests(&self, files: Vec<SourceFile>, namespace: Option<String>) -> Result<Manifests> {
        let length: usize = files.iter().map(|file| file.text.len()).sum();
        if length > BODY_MAX {
            let limit = BODY_MAX / 1024 / 1024;
            return Err(Error::new(
                Code::PayloadTooLarge,
                format!("manifests of one operation have at most {limit} MiB"),
            ));
        }
        if length < LARGE {
            return read(&files, namespace.as_deref());
        }
        let _turn = READING.acquire().await.map_err(|_| Error::of(Code::Internal))?;
        let read = tokio::task::spawn_blocking(move || read(&files, namespace.as_deref())).await;
        // What the fault says may be a piece of the manifest.
        read.unwrap_or_else(|_| {
            tracing::error!("reading manifests ended");
            Err(Error::of(Code::Internal))
        })
    }
}

fn read(files: &[SourceFile], namespace: Option<&str>) -> Result<Manifests> {
    let body = bundle(files.iter().map(|file| (file.name.as_str(), file.text.as_ref())));
    let documents = parse(&body)?;
    keys(&documents, namespace)?;
    Ok(Manifests { body, documents: documents.len() })
}
