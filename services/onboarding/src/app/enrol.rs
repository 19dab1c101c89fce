//! An agent enrols: its join token and its public key in, its identity out.

use roadstead_auth::ed25519::PublicKey;
use roadstead_auth::token::{self, Kind};
use roadstead_contracts::agent::{Enrol, Enrolled};
use roadstead_contracts::{Code, Error, Result};

use super::App;
use crate::domain::cut_text;
use crate::store::{EnrolOutcome, Enrolment};

pub(crate) async fn enrol(app: &App, request: Enrol) -> Result<Enrolled> {
    // Asked first: a use that was spent for an answer that cannot be given would be lost.
    let keys = app.keys.get()?;
    let token = token::parse(Kind::Join, &request.join_token).ok_or(Code::InvalidJoinToken)?;
    if PublicKey::parse(&request.public_key).is_err() {
        return Err(Error::field(
            &["body", "public_key"],
            "value_error",
            "public_key must be an Ed25519 key in base64url",
        ));
    }
    request.labels.check()?;
    let enrolment = Enrolment {
        token: token.id(),
        digest: token.digest(),
        agent: app.ids.next(),
        cluster: app.ids.next(),
        name: request.name,
        labels: request.labels,
        public_key: request.public_key,
        agent_version: cut_text(&request.agent_version),
    };
    let enrolled = match app.store.enrol(&enrolment, &app.own_change()).await? {
        EnrolOutcome::Done(enrolled) => enrolled,
        EnrolOutcome::BadToken => return Err(Code::InvalidJoinToken.into()),
        EnrolOutcome::NameMissing => return Err(Error::field(&["body", "name"], "missing", "name is required")),
        EnrolOutcome::NameTaken => return Err(Error::new(Code::Conflict, "a cluster with this name exists already")),
        EnrolOutcome::KeyTaken => return Err(Error::new(Code::Conflict, "this key is enrolled already")),
    };
    app.relay.nudge();
    tracing::info!(agent_id = %enrolled.agent, cluster_id = %enrolled.cluster, "agent {} enrolled for {}", enrolled.agent, enrolled.name);
    Ok(Enrolled {
        agent_id: enrolled.agent.to_string(),
        cluster_id: enrolled.cluster.to_string(),
        cluster_name: enrolled.name,
        identity_root: keys.root.clone(),
        profile: enrolled.profile,
        namespaces: enrolled.namespaces,
    })
}
