use chrono::{DateTime, Utc};
use roadstead_auth::token::{Kind, parse};
use roadstead_contracts::audit::{Actor, AuditRecord, Origin, Outcome, Resource};
use roadstead_contracts::ids::TokenPairId;
use roadstead_contracts::{Code, Error, Result};

use super::{App, Issued};
use crate::domain::Session;
use crate::store::{Rotation, TurnIn};

impl App {
    /// Gives a new pair of tokens for a refresh token. The rule of second uses is `domain::judge_turn_in`.
    pub async fn refresh(&self, token: &str) -> Result<Issued> {
        let refused = || Error::new(Code::InvalidCredential, "Invalid refresh token");
        let token = parse(Kind::Refresh, token).ok_or_else(refused)?;
        let now = self.clock.now();
        let pair = self.fresh_pair(now)?;
        let turn_in = TurnIn {
            pair_id: token.id::<TokenPairId>(),
            digest: self.keys.seal(&token.digest())?,
            new: pair.stored.clone(),
            now,
            event_id: self.ids.next(),
        };
        match self.store.rotate(&turn_in).await? {
            Rotation::Done(found) => {
                let (user, session) = *found;
                self.issue(pair, user, session.id, now)
            }
            Rotation::Refused => Err(refused()),
            Rotation::Reuse(session) => {
                self.outbox.nudge();
                tracing::warn!(
                    session_id = %session.id, user_id = %session.user_id,
                    "a refresh token was used twice, its session is ended"
                );
                self.record_reuse(&session, now).await;
                Err(Error::of(Code::TokenReuse))
            }
        }
    }

    /// The route's own row says that the token was refused; this one, which session and whose it ended (row A07). It is ended
    /// whether or not that can be written down.
    async fn record_reuse(&self, session: &Session, now: DateTime<Utc>) {
        let (origin, actor) = (Origin::request(""), Actor::system("token_reuse"));
        let (resource, outcome) = (Resource::id("session", session.id), Outcome::succeeded());
        let record = AuditRecord::outcome(self.ids.next(), now, origin, actor, "session.end", resource, outcome);
        let record = record.with("user", &session.user_id.to_string()).with("reason", "token_reuse");
        if self.trail.write(&record).await.is_err() {
            tracing::error!("the end of session {} is not recorded", session.id);
        }
    }
}
