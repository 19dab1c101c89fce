//! Sessions and their pairs of tokens.

use chrono::{DateTime, Utc};
use roadstead_contracts::event::Event;
use roadstead_contracts::ids::{SessionId, TokenPairId, TypedId, UserId};
use roadstead_store::{Dialect, Result, async_trait, outbox};
use uuid::Uuid;

use super::rows::{SessionRow, UserRow, session_columns, user_columns};
use crate::domain::{NewPair, NewSession, SESSIONS_MAX, Session, TokenPair, TurnedIn, User, judge_turn_in};

/// A session that stands, and whose it is.
#[derive(Debug, Clone)]
pub struct KnownSession {
    /// The account, active.
    pub user: User,
    /// The session.
    pub session: Session,
    /// The access token's pair has been seen before (or none was named).
    pub pair_seen: bool,
}

/// A refresh token that is turned in.
#[derive(Debug, Clone)]
pub struct TurnIn {
    /// Its public half.
    pub pair_id: TokenPairId,
    /// Sealed digest of its secret half.
    pub digest: String,
    /// What to give for it.
    pub new: NewPair,
    /// Now.
    pub now: DateTime<Utc>,
    /// Id of the event in case the session has to be ended.
    pub event_id: roadstead_contracts::ids::MessageId,
}

/// What came of it.
#[derive(Debug, Clone)]
pub enum Rotation {
    /// The new pair stands.
    Done(Box<(User, Session)>),
    /// Not one of ours, over, or its session or account does not stand.
    Refused,
    /// Used a second time: the session has been ended.
    Reuse(Session),
}

/// Sessions.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Opens a session; the account's oldest one is ended when it has too many.
    async fn open_session(&self, new: &NewSession) -> Result<()>;
    /// A session that stands, of this account, with this pair not taken back.
    async fn known_session(
        &self,
        id: SessionId,
        user: UserId,
        pair: Option<TokenPairId>,
        now: DateTime<Utc>,
    ) -> Result<Option<KnownSession>>;
    /// Notes that the access token of a pair has been used, once.
    async fn mark_pair_used(&self, pair: TokenPairId, now: DateTime<Utc>) -> Result<()>;
    /// Gives a new pair for a refresh token, or finds out that it was used twice.
    async fn rotate(&self, turn_in: &TurnIn) -> Result<Rotation>;
    /// The sessions of an account that stand, newest first.
    async fn sessions(&self, user: UserId, now: DateTime<Utc>) -> Result<Vec<Session>>;
    /// Ends a session of this account; answers whether it stood.
    async fn end_session(
        &self,
        id: SessionId,
        user: UserId,
        reason: &str,
        now: DateTime<Utc>,
        event: &Event,
    ) -> Result<bool>;
    /// Ends the sessions of an account but one; answers how many.
    async fn end_other_sessions(
        &self,
        user: UserId,
        keep: Option<SessionId>,
        now: DateTime<Utc>,
        event: &Event,
    ) -> Result<u64>;
    /// Notes when sessions were last used.
    async fn touch_sessions(&self, used: &[(SessionId, DateTime<Utc>)]) -> Result<()>;
    /// Removes sessions that ended before `before`; answers how many.
    async fn prune_sessions(&self, before: DateTime<Utc>) -> Result<u64>;
}

pub(super) const INSERT_SESSION: &str = "INSERT INTO sessions \
    (id, user_id, source, user_agent, device, created_at, last_used_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $6, $7)";
pub(super) const INSERT_PAIR: &str = "INSERT INTO token_pairs (id, session_id, refresh_digest, expires_at, created_at) \
    VALUES ($1, $2, $3, $4, $5)";
pub(super) const END_SURPLUS: &str = "UPDATE sessions SET revoked_at = $2, revoked_reason = 'too_many' WHERE user_id = $1 \
    AND revoked_at IS NULL AND seq <= (SELECT seq FROM sessions WHERE user_id = $1 AND revoked_at IS NULL \
    ORDER BY seq DESC LIMIT 1 OFFSET $3)";
const KNOWN: &str = concat!(
    "SELECT ",
    user_columns!(),
    ", ",
    session_columns!(),
    ", p.access_used_at AS pair_used_at, p.id AS pair_id FROM sessions s \
    JOIN users u ON u.id = s.user_id \
    LEFT JOIN token_pairs p ON p.session_id = s.id AND p.id = $3 \
    WHERE s.id = $1 AND s.user_id = $2 AND s.revoked_at IS NULL AND s.expires_at > $4 AND u.active \
    AND p.revoked_at IS NULL"
);
const PAIR: &str =
    "SELECT refresh_digest, expires_at, refreshed_at, successor, revoked_at FROM token_pairs WHERE id = $1";
// The session's row is the lock of its family: taken first, so that two turn-ins of one family cannot wait for each other.
const STANDING_POSTGRES: &str = concat!(
    "SELECT ",
    user_columns!(),
    ", ",
    session_columns!(),
    " FROM sessions s JOIN users u ON u.id = s.user_id \
    WHERE s.id = (SELECT session_id FROM token_pairs WHERE id = $1) \
    AND s.revoked_at IS NULL AND u.active FOR UPDATE OF s"
);
const STANDING_SQLITE: &str = concat!(
    "SELECT ",
    user_columns!(),
    ", ",
    session_columns!(),
    " FROM sessions s JOIN users u ON u.id = s.user_id \
    WHERE s.id = (SELECT session_id FROM token_pairs WHERE id = $1) AND s.revoked_at IS NULL AND u.active"
);
const END: &str = "UPDATE sessions SET revoked_at = $3, revoked_reason = $4 \
    WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL";
const SESSIONS: &str = concat!(
    "SELECT ",
    session_columns!(),
    " FROM sessions s WHERE s.user_id = $1 AND s.revoked_at IS NULL \
    AND s.expires_at > $2 ORDER BY s.seq DESC LIMIT $3"
);

#[derive(Debug, sqlx::FromRow)]
struct KnownRow {
    #[sqlx(flatten)]
    user: UserRow,
    #[sqlx(flatten)]
    session: SessionRow,
    pair_id: Option<Uuid>,
    pair_used_at: Option<DateTime<Utc>>,
}

#[derive(Debug, sqlx::FromRow)]
struct StandingRow {
    #[sqlx(flatten)]
    user: UserRow,
    #[sqlx(flatten)]
    session: SessionRow,
}

#[derive(Debug, sqlx::FromRow)]
struct PairRow {
    refresh_digest: String,
    expires_at: DateTime<Utc>,
    refreshed_at: Option<DateTime<Utc>>,
    successor: Option<Uuid>,
    revoked_at: Option<DateTime<Utc>>,
}

/// Writes a [`NewSession`] with its first pair, and ends what the account has too many. A macro, because the two databases'
/// drivers have no query type in common.
macro_rules! insert_session {
    ($tx:expr, $new:expr) => {
        sqlx::query(INSERT_SESSION)
            .bind($new.id.uuid())
            .bind($new.user_id.uuid())
            .bind(&$new.origin.source)
            .bind(&$new.origin.user_agent)
            .bind(&$new.origin.device)
            .bind($new.created_at)
            .bind($new.pair.expires_at)
            .execute(&mut *$tx)
            .await?;
        sqlx::query(INSERT_PAIR)
            .bind($new.pair.id.uuid())
            .bind($new.id.uuid())
            .bind(&$new.pair.digest)
            .bind($new.pair.expires_at)
            .bind($new.created_at)
            .execute(&mut *$tx)
            .await?;
        sqlx::query(END_SURPLUS)
            .bind($new.user_id.uuid())
            .bind($new.created_at)
            .bind(SESSIONS_MAX)
            .execute(&mut *$tx)
            .await?;
    };
}

pub(super) use insert_session;

roadstead_store::for_pools! {
    impl SessionStore for [PgPool, SqlitePool] {
        async fn open_session(&self, new: &NewSession) -> Result<()> {
            let mut tx = self.begin_write().await?;
            insert_session!(tx, new);
            tx.commit().await?;
            Ok(())
        }

        async fn known_session(
            &self,
            id: SessionId,
            user: UserId,
            pair: Option<TokenPairId>,
            now: DateTime<Utc>,
        ) -> Result<Option<KnownSession>> {
            let row: Option<KnownRow> = sqlx::query_as(KNOWN)
                .bind(id.uuid()).bind(user.uuid()).bind(pair.map(TypedId::uuid)).bind(now)
                .fetch_optional(self).await?;
            let Some(row) = row else { return Ok(None) };
            // A token whose pair is not in the session was never given out.
            if pair.is_some() && row.pair_id.is_none() {
                return Ok(None);
            }
            let pair_seen = row.pair_id.is_none() || row.pair_used_at.is_some();
            Ok(Some(KnownSession { user: row.user.try_into()?, session: row.session.into(), pair_seen }))
        }

        async fn mark_pair_used(&self, pair: TokenPairId, now: DateTime<Utc>) -> Result<()> {
            let _turn = self.turn().await?;
            sqlx::query("UPDATE token_pairs SET access_used_at = $2 WHERE id = $1 AND access_used_at IS NULL")
                .bind(pair.uuid()).bind(now)
                .execute(self).await?;
            Ok(())
        }

        async fn rotate(&self, turn_in: &TurnIn) -> Result<Rotation> {
            let TurnIn { pair_id, digest, new, now, event_id } = turn_in;
            let mut tx = self.begin_write().await?;
            let standing: Option<StandingRow> = sqlx::query_as(Self::pick(STANDING_POSTGRES, STANDING_SQLITE))
                .bind(pair_id.uuid()).fetch_optional(&mut *tx).await?;
            let Some(standing) = standing else { return Ok(Rotation::Refused) };
            let pair: PairRow = sqlx::query_as(PAIR).bind(pair_id.uuid()).fetch_one(&mut *tx).await?;
            if !roadstead_auth::token::digests_equal(&pair.refresh_digest, digest) {
                return Ok(Rotation::Refused);
            }
            let (user, session) = (User::try_from(standing.user)?, Session::from(standing.session));
            let successor_used: bool = match pair.successor {
                None => false,
                Some(successor) => {
                    sqlx::query_scalar(
                        "SELECT EXISTS (SELECT 1 FROM token_pairs WHERE id = $1 \
                         AND (access_used_at IS NOT NULL OR refreshed_at IS NOT NULL))",
                    )
                    .bind(successor).fetch_one(&mut *tx).await?
                }
            };
            let known = TokenPair {
                expires_at: pair.expires_at,
                revoked: pair.revoked_at.is_some(),
                refreshed_at: pair.refreshed_at,
                successor_used,
            };
            match judge_turn_in(&known, *now) {
                TurnedIn::Over => return Ok(Rotation::Refused),
                TurnedIn::Reuse => {
                    sqlx::query(END)
                        .bind(session.id.uuid()).bind(user.id.uuid()).bind(*now).bind("token_reuse")
                        .execute(&mut *tx).await?;
                    let fact = roadstead_contracts::event::Fact::SessionRevoked { user_id: user.id, session_id: session.id };
                    outbox::push(&mut tx, &Event { id: *event_id, at: *now, fact }).await?;
                    tx.commit().await?;
                    return Ok(Rotation::Reuse(session));
                }
                TurnedIn::Repeat => {
                    sqlx::query("UPDATE token_pairs SET revoked_at = $2 WHERE id = $1")
                        .bind(pair.successor).bind(*now)
                        .execute(&mut *tx).await?;
                }
                TurnedIn::Good => {}
            }
            sqlx::query(INSERT_PAIR)
                .bind(new.id.uuid()).bind(session.id.uuid()).bind(&new.digest).bind(new.expires_at).bind(*now)
                .execute(&mut *tx).await?;
            // The first time counts for the window of repeats: it does not open again with each repeat.
            sqlx::query("UPDATE token_pairs SET successor = $2, refreshed_at = COALESCE(refreshed_at, $3) WHERE id = $1")
                .bind(pair_id.uuid()).bind(new.id.uuid()).bind(*now)
                .execute(&mut *tx).await?;
            sqlx::query("UPDATE sessions SET last_used_at = $2, expires_at = $3 WHERE id = $1")
                .bind(session.id.uuid()).bind(*now).bind(new.expires_at)
                .execute(&mut *tx).await?;
            // Pairs that are over prove nothing any more.
            sqlx::query("DELETE FROM token_pairs WHERE session_id = $1 AND expires_at < $2")
                .bind(session.id.uuid()).bind(*now)
                .execute(&mut *tx).await?;
            tx.commit().await?;
            let session = Session { last_used_at: *now, expires_at: new.expires_at, ..session };
            Ok(Rotation::Done(Box::new((user, session))))
        }

        async fn sessions(&self, user: UserId, now: DateTime<Utc>) -> Result<Vec<Session>> {
            let rows: Vec<SessionRow> =
                sqlx::query_as(SESSIONS).bind(user.uuid()).bind(now).bind(SESSIONS_MAX).fetch_all(self).await?;
            Ok(rows.into_iter().map(Session::from).collect())
        }

        async fn end_session(
            &self,
            id: SessionId,
            user: UserId,
            reason: &str,
            now: DateTime<Utc>,
            event: &Event,
        ) -> Result<bool> {
            let mut tx = self.begin_write().await?;
            let ended = sqlx::query(END)
                .bind(id.uuid()).bind(user.uuid()).bind(now).bind(reason)
                .execute(&mut *tx).await?;
            if ended.rows_affected() == 0 {
                return Ok(false);
            }
            outbox::push(&mut tx, event).await?;
            tx.commit().await?;
            Ok(true)
        }

        async fn end_other_sessions(
            &self,
            user: UserId,
            keep: Option<SessionId>,
            now: DateTime<Utc>,
            event: &Event,
        ) -> Result<u64> {
            let mut tx = self.begin_write().await?;
            let ended = sqlx::query(
                "UPDATE sessions SET revoked_at = $2, revoked_reason = 'ended_by_user' \
                 WHERE user_id = $1 AND revoked_at IS NULL AND ($3 IS NULL OR id <> $3)",
            )
            .bind(user.uuid()).bind(now).bind(keep.map(TypedId::uuid))
            .execute(&mut *tx).await?;
            outbox::push(&mut tx, event).await?;
            tx.commit().await?;
            Ok(ended.rows_affected())
        }

        async fn touch_sessions(&self, used: &[(SessionId, DateTime<Utc>)]) -> Result<()> {
            let mut tx = self.begin_write().await?;
            for (id, at) in used {
                sqlx::query("UPDATE sessions SET last_used_at = $2 WHERE id = $1 AND last_used_at < $2")
                    .bind(id.uuid()).bind(*at)
                    .execute(&mut *tx).await?;
            }
            tx.commit().await?;
            Ok(())
        }

        async fn prune_sessions(&self, before: DateTime<Utc>) -> Result<u64> {
            let _turn = self.turn().await?;
            let gone = sqlx::query("DELETE FROM sessions WHERE expires_at < $1 OR revoked_at < $1")
                .bind(before)
                .execute(self).await?;
            Ok(gone.rows_affected())
        }
    }
}
