//! Keeps bodies, sealed, until an operation names them; reads them back for the agent.

use std::time::Duration;

use bytes::Bytes;
use roadstead_contracts::operation::BODY_MAX;
use roadstead_contracts::{Code, Error, Result};
use roadstead_relay::digest;
use roadstead_runtime::kill;
use roadstead_seal::Sealed;

use super::App;
use crate::domain::Body;
use crate::limits::PART_BYTES;

/// Seconds after which there may be room again.
const FULL_RETRY: Duration = Duration::from_secs(60);

/// Keeps a body; answers its digest.
pub(crate) async fn stage_body(app: &App, body: Bytes) -> Result<String> {
    if body.is_empty() {
        return Err(Error::field(&["body", "manifests"], "missing", "manifests are missing"));
    }
    if body.len() > BODY_MAX {
        return Err(Error::new(
            Code::PayloadTooLarge,
            format!("manifests of one operation have at most {BODY_MAX} bytes"),
        ));
    }
    let length = body.len() as u64;
    let sealer = app.sealer.clone();
    // Eight megabytes take some ten milliseconds.
    let sealing = tokio::task::spawn_blocking(move || -> Result<(String, Vec<String>)> {
        let sha256 = digest(&body);
        let parts = body
            .chunks(PART_BYTES)
            .enumerate()
            .map(|(part, plain)| {
                let sealed = sealer.seal("body_parts", "sealed_part", part_row(&sha256, part), plain)?;
                Ok(sealed.as_str().to_owned())
            })
            .collect::<Result<_>>()?;
        Ok((sha256, parts))
    });
    let (sha256, parts) = sealing.await.map_err(|_| Error::of(Code::Internal))??;
    kill::point("operations.body_sealed");
    if app.store.stage(&sha256, length, &parts, app.clock.now()).await? {
        kill::point("operations.body_kept");
        Ok(sha256)
    } else {
        let retry = u32::try_from(FULL_RETRY.as_secs()).unwrap_or(u32::MAX);
        Err(Error::new(Code::Unavailable, "too many manifests wait for their operations").retry_after(retry))
    }
}

/// Reads a body back.
pub(crate) async fn load_body(app: &App, body: Option<&Body>) -> Result<Bytes> {
    let Some(Body { sha256, .. }) = body.cloned() else { return Ok(Bytes::new()) };
    let gone = || {
        tracing::error!("a body of an operation is missing");
        Error::of(Code::IntegrityError)
    };
    let (length, parts) = app.store.body(&sha256).await?.ok_or_else(gone)?;
    let sealer = app.sealer.clone();
    let opening = tokio::task::spawn_blocking(move || -> Result<Bytes> {
        let mut plain = Vec::with_capacity(usize::try_from(length).unwrap_or(0).min(BODY_MAX));
        for (part, sealed) in parts.iter().enumerate() {
            let sealed = Sealed::parse(sealed)?;
            plain.extend_from_slice(&sealer.unseal("body_parts", "sealed_part", part_row(&sha256, part), &sealed)?);
        }
        if digest(&plain) != sha256 {
            return Err(Error::of(Code::IntegrityError));
        }
        Ok(Bytes::from(plain))
    });
    opening.await.map_err(|_| Error::of(Code::Internal))?
}

fn part_row(sha256: &str, part: usize) -> String {
    format!("{sha256}/{part}")
}
