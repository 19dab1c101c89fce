use roadstead_contracts::event::Fact;
use roadstead_contracts::ids::{SessionId, UserId};
use roadstead_contracts::{Error, Result};

use super::App;

impl App {
    /// Ends a session of an account: its access tokens are dead everywhere within seconds, its refresh token at once.
    pub async fn end_session(&self, user: UserId, session: SessionId, reason: &str) -> Result<()> {
        let now = self.clock.now();
        let event = self.event(Fact::SessionRevoked { user_id: user, session_id: session }, now);
        let stood = self.store.end_session(session, user, reason, now, &event).await?;
        self.outbox.nudge();
        if stood { Ok(()) } else { Err(Error::not_found("Session not found")) }
    }

    /// Ends every session of an account but one.
    pub async fn end_other_sessions(&self, user: UserId, keep: Option<SessionId>) -> Result<u64> {
        let now = self.clock.now();
        let event = self.event(Fact::UserChanged { user_id: user }, now);
        let ended = self.store.end_other_sessions(user, keep, now, &event).await?;
        self.outbox.nudge();
        Ok(ended)
    }
}
