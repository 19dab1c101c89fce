use roadstead_auth::token::{Kind, parse};
use roadstead_contracts::ids::TokenPairId;
use roadstead_contracts::{Code, Error, Result};

use super::{App, Issued};
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
                Err(Error::of(Code::TokenReuse))
            }
        }
    }
}
