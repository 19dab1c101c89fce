//! Bodies of operations, for the front door in the same process, and for the listener of the mesh.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use roadstead_contracts::Result;
use roadstead_relay::BodyStage;

use crate::app::{App, stage_body};

/// Keeps bodies in this service's database. Clones are the same.
#[derive(Clone)]
pub struct Stage(pub(crate) Arc<App>);

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stage")
    }
}

#[async_trait]
impl BodyStage for Stage {
    async fn stage(&self, body: Bytes) -> Result<String> {
        stage_body(&self.0, body).await
    }
}
