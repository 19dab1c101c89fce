//! Passkeys and security keys of accounts, and the challenges that were given out for them.

use chrono::{DateTime, Utc};
use roadstead_contracts::ids::{PasskeyId, TypedId, UserId};
use roadstead_store::{Dialect, Error, Result, async_trait};
use uuid::Uuid;

use super::access_requests::{ACCOUNT_LOCK_POSTGRES, ACCOUNT_LOCK_SQLITE};
use super::rows::{UserRow, user_columns};
use crate::domain::{CEREMONIES_MAX, Ceremony, KnownPasskey, PASSKEYS_MAX, Passkey, Purpose};

/// What came of storing a passkey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasskeyAdded {
    /// It is the account's first second proof: the recovery codes are the account's now.
    First,
    /// It is there, beside others.
    Another,
    /// The account has too many.
    TooMany,
}

/// Passkeys.
#[async_trait]
pub trait PasskeyStore: Send + Sync {
    /// Stores a challenge that was given out. When there are too many, the oldest that anybody could ask for make room; answers
    /// how many did, and `None` when there is no room.
    async fn begin_ceremony(&self, ceremony: &Ceremony, now: DateTime<Utc>) -> Result<Option<u64>>;
    /// Takes a challenge, once.
    async fn take_ceremony(&self, challenge: &str, now: DateTime<Utc>) -> Result<Option<Ceremony>>;
    /// Stores a passkey, with recovery codes' digests for an account that had no second proof: what else was begun then is over. Breaks
    /// `passkeys_credential_id_key` when it is somebody's already, `passkeys_user_id_name_key` when the name is taken.
    async fn insert_passkey(&self, new: &Passkey, codes: &[String]) -> Result<PasskeyAdded>;
    /// The passkeys of an account, oldest first.
    async fn passkeys(&self, user: UserId) -> Result<Vec<Passkey>>;
    /// A passkey by what its authenticator calls it.
    async fn known_passkey(&self, credential_id: &str) -> Result<Option<KnownPasskey>>;
    /// Notes a sign-in: false when the counter did not rise since it was read.
    async fn use_passkey(&self, id: PasskeyId, sign_count: u32, backed_up: bool, now: DateTime<Utc>) -> Result<bool>;
    /// Calls a passkey of an account something else.
    async fn rename_passkey(&self, user: UserId, id: PasskeyId, name: &str) -> Result<bool>;
    /// Removes a passkey of an account, and with the last second proof the recovery codes.
    async fn remove_passkey(&self, user: UserId, id: PasskeyId) -> Result<bool>;
    /// Removes every second proof of an account; answers whether there was one.
    async fn remove_second_factors(&self, user: UserId) -> Result<bool>;
}

macro_rules! passkey_columns {
    () => {
        "p.id AS passkey_id, p.user_id AS passkey_user_id, p.credential_id, p.public_key, p.name AS passkey_name, \
         p.transports, p.sign_count, p.backup_eligible, p.backed_up, p.created_at AS passkey_created_at, p.last_used_at"
    };
}
const ALL: &str = concat!(
    "SELECT ",
    passkey_columns!(),
    " FROM passkeys p WHERE p.user_id = $1 ORDER BY p.created_at, p.id LIMIT $2"
);
const KNOWN: &str = concat!(
    "SELECT ",
    user_columns!(),
    ", ",
    passkey_columns!(),
    " FROM passkeys p JOIN users u ON u.id = p.user_id WHERE p.credential_id = $1"
);
const INSERT: &str = "INSERT INTO passkeys (id, user_id, credential_id, public_key, name, transports, sign_count, \
    backup_eligible, backed_up, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
// A key that does not count says 0 for good.
const USE: &str = "UPDATE passkeys SET sign_count = $2, backed_up = $3, last_used_at = $4 \
    WHERE id = $1 AND (sign_count < $2 OR (sign_count = 0 AND $2 = 0))";
// Whoever floods this must do so faster than a person answers, or keeps nobody out.
const MAKE_ROOM: &str = "DELETE FROM passkey_ceremonies WHERE challenge = (SELECT challenge FROM passkey_ceremonies \
    WHERE purpose = $1 ORDER BY expires_at LIMIT 1)";
const HAS_OTHERS: &str = "SELECT EXISTS (SELECT 1 FROM passkeys WHERE user_id = $1) \
    OR EXISTS (SELECT 1 FROM authenticators WHERE user_id = $1 AND confirmed_at IS NOT NULL)";
/// Passkeys that somebody began to add while less was asked for.
pub(super) const END_BEGUN_PASSKEYS: &str = "DELETE FROM passkey_ceremonies WHERE user_id = $1 AND purpose = $2";
/// An app that somebody began to add, with the password alone.
pub(super) const END_BEGUN_APP: &str = "DELETE FROM authenticators WHERE user_id = $1 AND confirmed_at IS NULL";
/// Every second proof, one after the other.
pub(super) const REMOVE_ALL: [&str; 2] =
    ["DELETE FROM passkeys WHERE user_id = $1", "DELETE FROM authenticators WHERE user_id = $1"];
/// Recovery codes stand in for a second proof: with the last one they go.
pub(super) const PRUNE_CODES: &str = "DELETE FROM recovery_codes WHERE user_id = $1 \
    AND NOT EXISTS (SELECT 1 FROM passkeys WHERE user_id = $1) \
    AND NOT EXISTS (SELECT 1 FROM authenticators WHERE user_id = $1 AND confirmed_at IS NOT NULL)";

#[derive(Debug, sqlx::FromRow)]
struct PasskeyRow {
    passkey_id: Uuid,
    passkey_user_id: Uuid,
    credential_id: String,
    public_key: Vec<u8>,
    passkey_name: String,
    transports: String,
    sign_count: i64,
    backup_eligible: bool,
    backed_up: bool,
    passkey_created_at: DateTime<Utc>,
    last_used_at: Option<DateTime<Utc>>,
}

#[derive(Debug, sqlx::FromRow)]
struct KnownRow {
    #[sqlx(flatten)]
    user: UserRow,
    #[sqlx(flatten)]
    passkey: PasskeyRow,
}

#[derive(Debug, sqlx::FromRow)]
struct CeremonyRow {
    challenge: String,
    purpose: String,
    user_id: Option<Uuid>,
    binding: String,
    expires_at: DateTime<Utc>,
}

impl TryFrom<PasskeyRow> for Passkey {
    type Error = Error;

    fn try_from(row: PasskeyRow) -> Result<Self> {
        let corrupt = |_| Error::Corrupt("a passkey's counter".to_owned());
        Ok(Self {
            id: PasskeyId::from_uuid(row.passkey_id),
            user_id: UserId::from_uuid(row.passkey_user_id),
            credential_id: row.credential_id,
            public_key: row.public_key,
            name: row.passkey_name,
            transports: row.transports.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect(),
            sign_count: u32::try_from(row.sign_count).map_err(corrupt)?,
            backup_eligible: row.backup_eligible,
            backed_up: row.backed_up,
            created_at: row.passkey_created_at,
            last_used_at: row.last_used_at,
        })
    }
}

roadstead_store::for_pools! {
    impl PasskeyStore for [PgPool, SqlitePool] {
        async fn begin_ceremony(&self, ceremony: &Ceremony, now: DateTime<Utc>) -> Result<Option<u64>> {
            let mut tx = self.begin_write().await?;
            sqlx::query("DELETE FROM passkey_ceremonies WHERE expires_at < $1").bind(now).execute(&mut *tx).await?;
            let open: i64 = sqlx::query_scalar("SELECT count(*) FROM passkey_ceremonies").fetch_one(&mut *tx).await?;
            let mut gone = 0;
            if open >= CEREMONIES_MAX {
                gone = sqlx::query(MAKE_ROOM).bind(Purpose::Alone.as_str()).execute(&mut *tx).await?.rows_affected();
                if gone == 0 {
                    tx.commit().await?;
                    return Ok(None);
                }
            }
            sqlx::query(
                "INSERT INTO passkey_ceremonies (challenge, purpose, user_id, binding, expires_at) \
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(&ceremony.challenge).bind(ceremony.purpose.as_str()).bind(ceremony.user_id.map(TypedId::uuid))
            .bind(&ceremony.binding).bind(ceremony.expires_at)
            .execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(Some(gone))
        }

        async fn take_ceremony(&self, challenge: &str, now: DateTime<Utc>) -> Result<Option<Ceremony>> {
            let _turn = self.turn().await?;
            // One statement takes it: two answers to one challenge cannot both have it.
            let row: Option<CeremonyRow> = sqlx::query_as(
                "DELETE FROM passkey_ceremonies WHERE challenge = $1 \
                 RETURNING challenge, purpose, user_id, binding, expires_at",
            )
            .bind(challenge)
            .fetch_optional(self).await?;
            let Some(row) = row.filter(|row| row.expires_at > now) else { return Ok(None) };
            let corrupt = || Error::Corrupt("a challenge's purpose".to_owned());
            Ok(Some(Ceremony {
                challenge: row.challenge,
                purpose: Purpose::parse(&row.purpose).ok_or_else(corrupt)?,
                user_id: row.user_id.map(UserId::from_uuid),
                binding: row.binding,
                expires_at: row.expires_at,
            }))
        }

        async fn insert_passkey(&self, new: &Passkey, codes: &[String]) -> Result<PasskeyAdded> {
            let user = new.user_id.uuid();
            let mut tx = self.begin_write().await?;
            sqlx::query(Self::pick(ACCOUNT_LOCK_POSTGRES, ACCOUNT_LOCK_SQLITE)).bind(user).execute(&mut *tx).await?;
            let held: i64 = sqlx::query_scalar("SELECT count(*) FROM passkeys WHERE user_id = $1")
                .bind(user).fetch_one(&mut *tx).await?;
            if held >= PASSKEYS_MAX {
                return Ok(PasskeyAdded::TooMany);
            }
            let others: bool = sqlx::query_scalar(HAS_OTHERS).bind(user).fetch_one(&mut *tx).await?;
            sqlx::query(INSERT)
                .bind(new.id.uuid()).bind(user).bind(&new.credential_id).bind(&new.public_key)
                .bind(&new.name).bind(new.transports.join(",")).bind(i64::from(new.sign_count))
                .bind(new.backup_eligible).bind(new.backed_up).bind(new.created_at)
                .execute(&mut *tx).await?;
            if !others {
                // Begun with the password alone, finished past the passkey: that would be a way around it.
                sqlx::query(END_BEGUN_APP).bind(user).execute(&mut *tx).await?;
                sqlx::query(END_BEGUN_PASSKEYS).bind(user).bind(Purpose::Add.as_str()).execute(&mut *tx).await?;
                sqlx::query("DELETE FROM recovery_codes WHERE user_id = $1").bind(user).execute(&mut *tx).await?;
                for code in codes {
                    sqlx::query("INSERT INTO recovery_codes (user_id, digest) VALUES ($1, $2)")
                        .bind(user).bind(code)
                        .execute(&mut *tx).await?;
                }
            }
            tx.commit().await?;
            Ok(if others { PasskeyAdded::Another } else { PasskeyAdded::First })
        }

        async fn passkeys(&self, user: UserId) -> Result<Vec<Passkey>> {
            let rows: Vec<PasskeyRow> =
                sqlx::query_as(ALL).bind(user.uuid()).bind(PASSKEYS_MAX).fetch_all(self).await?;
            rows.into_iter().map(Passkey::try_from).collect()
        }

        async fn known_passkey(&self, credential_id: &str) -> Result<Option<KnownPasskey>> {
            let row: Option<KnownRow> = sqlx::query_as(KNOWN).bind(credential_id).fetch_optional(self).await?;
            let Some(row) = row else { return Ok(None) };
            Ok(Some(KnownPasskey { passkey: row.passkey.try_into()?, user: row.user.try_into()? }))
        }

        async fn use_passkey(
            &self,
            id: PasskeyId,
            sign_count: u32,
            backed_up: bool,
            now: DateTime<Utc>,
        ) -> Result<bool> {
            let _turn = self.turn().await?;
            let done = sqlx::query(USE)
                .bind(id.uuid()).bind(i64::from(sign_count)).bind(backed_up).bind(now)
                .execute(self).await?;
            Ok(done.rows_affected() > 0)
        }

        async fn rename_passkey(&self, user: UserId, id: PasskeyId, name: &str) -> Result<bool> {
            let _turn = self.turn().await?;
            let done = sqlx::query("UPDATE passkeys SET name = $3 WHERE user_id = $1 AND id = $2")
                .bind(user.uuid()).bind(id.uuid()).bind(name)
                .execute(self).await?;
            Ok(done.rows_affected() > 0)
        }

        async fn remove_passkey(&self, user: UserId, id: PasskeyId) -> Result<bool> {
            let mut tx = self.begin_write().await?;
            sqlx::query(Self::pick(ACCOUNT_LOCK_POSTGRES, ACCOUNT_LOCK_SQLITE)).bind(user.uuid())
                .execute(&mut *tx).await?;
            let gone = sqlx::query("DELETE FROM passkeys WHERE user_id = $1 AND id = $2")
                .bind(user.uuid()).bind(id.uuid())
                .execute(&mut *tx).await?;
            sqlx::query(PRUNE_CODES).bind(user.uuid()).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(gone.rows_affected() > 0)
        }

        async fn remove_second_factors(&self, user: UserId) -> Result<bool> {
            let mut tx = self.begin_write().await?;
            sqlx::query(Self::pick(ACCOUNT_LOCK_POSTGRES, ACCOUNT_LOCK_SQLITE)).bind(user.uuid())
                .execute(&mut *tx).await?;
            let mut gone = 0;
            for remove in REMOVE_ALL {
                gone += sqlx::query(remove).bind(user.uuid()).execute(&mut *tx).await?.rows_affected();
            }
            sqlx::query(PRUNE_CODES).bind(user.uuid()).execute(&mut *tx).await?;
            tx.commit().await?;
            Ok(gone > 0)
        }
    }
}
