//! Requests for more rights, and what a chat is still to be told of them.
//!
//! What is decided, the rule that it makes or takes away, the event and the notice are one transaction.

use chrono::{DateTime, Utc};
use roadstead_contracts::event::Event;
use roadstead_contracts::ids::{AccessRequestId, TypedId, UserId};
use roadstead_store::{Dialect, Error, Result, Window, async_trait, outbox};
use uuid::Uuid;

use super::policy::{count_up, put_rule, remove_rule};
use crate::domain::{
    AccessDecision, AccessEnd, AccessRequest, AccessState, NOTICE_TRIES, NewAccessRequest, Notice, OPEN_MAX,
};

/// Which requests a list shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct AccessFilter {
    /// Only those of an account.
    pub user: Option<UserId>,
    /// Only those in a state, as it is at that time.
    pub state: Option<(AccessState, DateTime<Utc>)>,
}

/// Requests for more rights.
#[async_trait]
pub trait AccessStore: Send + Sync {
    /// Stores a request; `None` when the account has as many open ones as it may have.
    async fn insert_access_request(
        &self,
        new: &NewAccessRequest,
        notice: Option<&Notice>,
    ) -> Result<Option<AccessRequest>>;
    /// A request.
    async fn access_request(&self, id: AccessRequestId) -> Result<Option<AccessRequest>>;
    /// A page of requests, newest first, and how many there are.
    async fn access_requests(&self, window: &Window, filter: &AccessFilter) -> Result<(Vec<AccessRequest>, u64)>;
    /// Decides on a request that is pending and has not lapsed, once; `None` when it is not, or not there any more.
    async fn decide_access(
        &self,
        decision: &AccessDecision,
        event: Option<&Event>,
        notice: Option<&Notice>,
    ) -> Result<Option<AccessRequest>>;
    /// Ends what was given, once: its rule is gone with it. `None` when it is not given, or ended before.
    async fn end_access(
        &self,
        end: &AccessEnd,
        event: &Event,
        notice: Option<&Notice>,
    ) -> Result<Option<AccessRequest>>;
    /// Requests whose time is over and that nobody has ended yet.
    async fn access_over(&self, now: DateTime<Utc>, limit: i64) -> Result<Vec<AccessRequest>>;
    /// Takes a notice that is due, to be told until `again`.
    async fn claim_notice(&self, now: DateTime<Utc>, again: DateTime<Utc>) -> Result<Option<Notice>>;
    /// It was told, or never will be.
    async fn notice_told(&self, id: Uuid) -> Result<()>;
    /// It was not; it is tried again then, so many times.
    async fn notice_failed(&self, id: Uuid, next_at: DateTime<Utc>) -> Result<()>;
}

macro_rules! columns {
    () => {
        "seq, id, user_id, username, wanted, state, created_at, lapses_at, decided_at, decided_by, decided_by_name, note, \
         ends_at, ended_at, ended_by_name, rule_id"
    };
}
const INSERT: &str = concat!(
    "INSERT INTO access_requests (id, user_id, username, wanted, state, created_at, lapses_at) \
     VALUES ($1, $2, $3, $4, 'pending', $5, $6) RETURNING ",
    columns!()
);
const OPEN: &str = "SELECT count(*) FROM access_requests WHERE user_id = $1 AND state = 'pending' AND lapses_at > $2";
const ONE: &str = concat!("SELECT ", columns!(), " FROM access_requests WHERE id = $1");
// A state is what it means at a time (`AccessRequest::state_at`), so that nothing has to sweep.
macro_rules! filtered {
    () => {
        " FROM access_requests WHERE ($1 IS NULL OR user_id = $1) AND ($2 IS NULL OR $2 = CASE \
          WHEN state = 'pending' AND lapses_at <= $3 THEN 'lapsed' \
          WHEN state = 'approved' AND ends_at <= $3 THEN 'ended' ELSE state END)"
    };
}
const PAGE: &str = concat!("SELECT ", columns!(), filtered!(), " AND seq < $4 ORDER BY seq DESC LIMIT $5 OFFSET $6");
const COUNT: &str = concat!("SELECT count(*)", filtered!());
const DECIDE: &str = concat!(
    "UPDATE access_requests SET state = $3, decided_at = $2, decided_by = $4, decided_by_name = $5, note = $6, \
     ends_at = $7, rule_id = $8 WHERE id = $1 AND state = 'pending' AND lapses_at > $2 RETURNING ",
    columns!()
);
const END: &str = concat!(
    "UPDATE access_requests SET state = 'ended', ended_at = $2, ended_by_name = $3 \
     WHERE id = $1 AND state = 'approved' RETURNING ",
    columns!()
);
const OVER: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM access_requests WHERE state = 'approved' AND ends_at <= $1 ORDER BY ends_at LIMIT $2"
);
// Questions of one account take turns, so that their number is exact; so do its second proofs.
pub(super) const ACCOUNT_LOCK_POSTGRES: &str = "SELECT id FROM users WHERE id = $1 FOR UPDATE";
pub(super) const ACCOUNT_LOCK_SQLITE: &str = "SELECT id FROM users WHERE id = $1";
const INSERT_NOTICE: &str = "INSERT INTO access_notices (id, body, next_at) VALUES ($1, $2, $3)";
const WAITING: &str = "SELECT EXISTS (SELECT 1 FROM access_notices WHERE next_at <= $1)";
const CLAIM_POSTGRES: &str = "UPDATE access_notices SET next_at = $2 WHERE id = (SELECT id FROM access_notices \
    WHERE next_at <= $1 ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id, body, attempts";
const CLAIM_SQLITE: &str = "UPDATE access_notices SET next_at = $2 WHERE id = (SELECT id FROM access_notices \
    WHERE next_at <= $1 ORDER BY next_at LIMIT 1) RETURNING id, body, attempts";
const TOLD: &str = "DELETE FROM access_notices WHERE id = $1";
const FAILED: &str = "UPDATE access_notices SET attempts = attempts + 1, next_at = $2 WHERE id = $1";
const GIVE_UP: &str = "DELETE FROM access_notices WHERE id = $1 AND attempts >= $2";

#[derive(Debug, sqlx::FromRow)]
struct Row {
    seq: i64,
    id: Uuid,
    user_id: Uuid,
    username: String,
    wanted: String,
    state: String,
    created_at: DateTime<Utc>,
    lapses_at: DateTime<Utc>,
    decided_at: Option<DateTime<Utc>>,
    decided_by: Option<Uuid>,
    decided_by_name: Option<String>,
    note: Option<String>,
    ends_at: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    ended_by_name: Option<String>,
    rule_id: Option<Uuid>,
}

impl TryFrom<Row> for AccessRequest {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let corrupt = |what: &str| Error::Corrupt(format!("{what} of access request {}", row.id));
        Ok(Self {
            id: AccessRequestId::from_uuid(row.id),
            seq: row.seq,
            user_id: UserId::from_uuid(row.user_id),
            username: row.username,
            wanted: serde_json::from_str(&row.wanted).map_err(|_| corrupt("what is wanted"))?,
            state: AccessState::parse(&row.state).ok_or_else(|| corrupt("the state"))?,
            created_at: row.created_at,
            lapses_at: row.lapses_at,
            decided_at: row.decided_at,
            decided_by: row.decided_by.map(UserId::from_uuid),
            decided_by_name: row.decided_by_name,
            note: row.note,
            until: row.ends_at,
            ended_at: row.ended_at,
            ended_by_name: row.ended_by_name,
            rule_id: row.rule_id,
        })
    }
}

roadstead_store::for_pools! {
    impl AccessStore for [PgPool, SqlitePool] {
        async fn insert_access_request(
            &self,
            new: &NewAccessRequest,
            notice: Option<&Notice>,
        ) -> Result<Option<AccessRequest>> {
            let wanted = serde_json::to_string(&new.wanted).map_err(|_| Error::Corrupt("a request".to_owned()))?;
            let mut tx = self.begin_write().await?;
            sqlx::query(Self::pick(ACCOUNT_LOCK_POSTGRES, ACCOUNT_LOCK_SQLITE))
                .bind(new.user_id.uuid())
                .execute(&mut *tx).await?;
            let open: i64 =
                sqlx::query_scalar(OPEN).bind(new.user_id.uuid()).bind(new.created_at).fetch_one(&mut *tx).await?;
            if open >= OPEN_MAX {
                return Ok(None);
            }
            let row: Row = sqlx::query_as(INSERT)
                .bind(new.id.uuid()).bind(new.user_id.uuid()).bind(&new.username).bind(wanted)
                .bind(new.created_at).bind(new.lapses_at)
                .fetch_one(&mut *tx).await?;
            if let Some(notice) = notice {
                sqlx::query(INSERT_NOTICE).bind(notice.id).bind(&notice.body).bind(new.created_at)
                    .execute(&mut *tx).await?;
            }
            tx.commit().await?;
            row.try_into().map(Some)
        }

        async fn access_request(&self, id: AccessRequestId) -> Result<Option<AccessRequest>> {
            let row: Option<Row> = sqlx::query_as(ONE).bind(id.uuid()).fetch_optional(self).await?;
            row.map(TryInto::try_into).transpose()
        }

        async fn access_requests(&self, window: &Window, filter: &AccessFilter) -> Result<(Vec<AccessRequest>, u64)> {
            let (user, state) = (filter.user.map(TypedId::uuid), filter.state.map(|(state, _)| state.as_str()));
            let now = filter.state.map(|(_, now)| now);
            let rows: Vec<Row> = sqlx::query_as(PAGE)
                .bind(user).bind(state).bind(now).bind(window.before).bind(window.fetch).bind(window.offset)
                .fetch_all(self).await?;
            let total: i64 = sqlx::query_scalar(COUNT)
                .bind(user).bind(state).bind(now)
                .fetch_one(self).await?;
            let requests = rows.into_iter().map(AccessRequest::try_from).collect::<Result<_>>()?;
            Ok((requests, u64::try_from(total).unwrap_or(0)))
        }

        async fn decide_access(
            &self,
            decision: &AccessDecision,
            event: Option<&Event>,
            notice: Option<&Notice>,
        ) -> Result<Option<AccessRequest>> {
            let mut tx = self.begin_write().await?;
            if decision.rule.is_some() {
                count_up!(tx);
            }
            let row: Option<Row> = sqlx::query_as(DECIDE)
                .bind(decision.id.uuid()).bind(decision.at).bind(decision.state.as_str()).bind(decision.by.uuid())
                .bind(&decision.by_name).bind(&decision.note).bind(decision.rule.as_ref().and_then(|rule| rule.until))
                .bind(decision.rule.as_ref().map(|rule| rule.id.uuid()))
                .fetch_optional(&mut *tx).await?;
            let Some(row) = row else { return Ok(None) };
            if let Some(rule) = &decision.rule {
                put_rule!(tx, rule, decision.at, Some(decision.by));
            }
            if let Some(notice) = notice {
                sqlx::query(INSERT_NOTICE).bind(notice.id).bind(&notice.body).bind(decision.at).execute(&mut *tx).await?;
            }
            if let Some(event) = event {
                outbox::push(&mut tx, event).await?;
            }
            tx.commit().await?;
            row.try_into().map(Some)
        }

        async fn end_access(
            &self,
            end: &AccessEnd,
            event: &Event,
            notice: Option<&Notice>,
        ) -> Result<Option<AccessRequest>> {
            let mut tx = self.begin_write().await?;
            count_up!(tx);
            let row: Option<Row> = sqlx::query_as(END)
                .bind(end.id.uuid()).bind(end.at).bind(&end.by_name)
                .fetch_optional(&mut *tx).await?;
            let Some(row) = row else { return Ok(None) };
            if let Some(rule) = row.rule_id {
                remove_rule!(tx, rule);
            }
            if let Some(notice) = notice {
                sqlx::query(INSERT_NOTICE).bind(notice.id).bind(&notice.body).bind(end.at).execute(&mut *tx).await?;
            }
            outbox::push(&mut tx, event).await?;
            tx.commit().await?;
            row.try_into().map(Some)
        }

        async fn access_over(&self, now: DateTime<Utc>, limit: i64) -> Result<Vec<AccessRequest>> {
            let rows: Vec<Row> = sqlx::query_as(OVER).bind(now).bind(limit).fetch_all(self).await?;
            rows.into_iter().map(AccessRequest::try_from).collect()
        }

        async fn claim_notice(&self, now: DateTime<Utc>, again: DateTime<Utc>) -> Result<Option<Notice>> {
            let waiting: bool = sqlx::query_scalar(WAITING).bind(now).fetch_one(self).await?;
            if !waiting {
                return Ok(None);
            }
            let mut tx = self.begin_write().await?;
            let row: Option<(Uuid, String, i64)> = sqlx::query_as(Self::pick(CLAIM_POSTGRES, CLAIM_SQLITE))
                .bind(now).bind(again)
                .fetch_optional(&mut *tx).await?;
            tx.commit().await?;
            Ok(row.map(|(id, body, attempts)| Notice { id, body, attempts }))
        }

        async fn notice_told(&self, id: Uuid) -> Result<()> {
            let _turn = self.turn().await?;
            sqlx::query(TOLD).bind(id).execute(self).await?;
            Ok(())
        }

        async fn notice_failed(&self, id: Uuid, next_at: DateTime<Utc>) -> Result<()> {
            let mut tx = self.begin_write().await?;
            sqlx::query(FAILED).bind(id).bind(next_at).execute(&mut *tx).await?;
            sqlx::query(GIVE_UP).bind(id).bind(NOTICE_TRIES).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(())
        }
    }
}
