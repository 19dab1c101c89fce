//! Where the agents' door is: `--hub` may name it, or the front door, which names the other.

use ::http::{Request, StatusCode, Uri};
use bytes::Bytes;
use serde::Deserialize;

use super::{NetError, Step, Target, Way, http, parse_uri};
use crate::Result;

/// Where the front door says it.
pub const WELL_KNOWN: &str = "/.well-known/roadstead";

#[derive(Debug, Deserialize)]
struct Described {
    agent_url: Option<String>,
}

/// An address of the hub without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    base: String,
}

impl Door {
    /// The door at this very address.
    pub fn at(address: &str) -> Result<Self> {
        let uri = parse_uri(address)?;
        let target = Target::of(&uri)?;
        let scheme = if target.secure { "https" } else { "http" };
        Ok(Self { base: format!("{scheme}://{target}{}", uri.path().trim_end_matches('/')) })
    }

    /// Asks the address where the agents' door is. One that does not know is taken for the door itself.
    pub async fn find(way: &Way, address: &str) -> Result<Self> {
        let given = Self::at(address)?;
        let request = Request::get(given.path(WELL_KNOWN)?).body(Bytes::new());
        let request = request.map_err(|_| NetError::new(Step::Address, "address cannot be sent", "check --hub"))?;
        let answer = http::exchange(way, request).await?;
        if answer.status() != StatusCode::OK {
            return Ok(given);
        }
        let Ok(Described { agent_url: Some(named) }) = serde_json::from_slice(answer.body()) else { return Ok(given) };
        let door = Self::at(&named)?;
        // Whoever asked for TLS does not get less because a page said so.
        if given.base.starts_with("https:") && !door.base.starts_with("https:") {
            let fix = "set the hub's agent_public_url to an https address";
            return Err(NetError::new(Step::Address, format!("the hub names a door without TLS: {named}"), fix).into());
        }
        Ok(door)
    }

    /// The address of a path behind the door.
    pub fn path(&self, path: &str) -> Result<Uri> {
        parse_uri(&format!("{}{path}", self.base))
    }

    /// Whether what is sent there can be read on the way.
    pub fn is_exposed(&self) -> bool {
        let target = self.path("").ok().and_then(|uri| Target::of(&uri).ok());
        target.is_some_and(|target| !target.secure && !target.is_loopback())
    }
}

impl std::fmt::Display for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.base)
    }
}
