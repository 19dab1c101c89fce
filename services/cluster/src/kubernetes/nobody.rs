//! Callers who are nobody: without a credential, or with one that is not good. They are counted by where they come from, so
//! that guessing ends, and what is written about them is bounded, so that a flood of them does not fill the audit trail and
//! with it the way of everybody's changes. Whoever shows a credential that is known to be good is counted apart: others that
//! guess behind the same address hold nobody up.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use roadstead_contracts::audit::Actor;
use roadstead_contracts::message::CredentialProof;
use roadstead_contracts::{Code, Error};
use roadstead_kv::{Kv as _, MemoryKv, Quota};
use roadstead_runtime::SharedClock;

/// Refusals of nobody from one address in a minute that are told one by one.
const REFUSALS_PER_MINUTE: u32 = 60;
/// Rows about nobody in a minute, from wherever they come: many addresses write no more into the trail than ten have.
const ROWS_PER_MINUTE: u32 = 600;
/// How often a flood from one address is a row.
const FLOOD_EVERY: Duration = Duration::from_secs(60);
/// How long an API key that was good is taken for one that may be: longer than a client pauses between two looks.
const GOOD_FOR: Duration = Duration::from_secs(600);

/// Somebody who was not let in.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What they are told.
    pub(crate) error: Error,
    /// Whose request it was, when that is known.
    pub(crate) actor: Option<Actor>,
    /// What is written about it.
    pub(crate) row: Row,
}

/// What is written about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Row {
    /// What they tried, where that is one.
    Own,
    /// That there are more than are written down, and how many were not since this was last said.
    Flood { unwritten: u64 },
    /// Nothing: it is counted.
    Counted,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, actor: None, row: Row::Own }
    }
}

/// Under what a caller's refusals are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Whose(String);

/// Counts them, in this process: what it guards is this process and its trail.
#[derive(Debug)]
pub(super) struct Nobody {
    counts: MemoryKv,
    /// API keys that were good a while ago. Apart from the counts: whoever is nobody can fill those.
    good: MemoryKv,
    unwritten: AtomicU64,
    /// Whether more than the quota are turned away; what is written about them is bounded in any case.
    limited: bool,
}

impl Nobody {
    pub(super) fn new(clock: SharedClock, limited: bool) -> Self {
        let (counts, good) = (MemoryKv::new(SharedClock::clone(&clock)), MemoryKv::new(clock));
        Self { counts, good, unwritten: AtomicU64::new(0), limited }
    }

    /// Everybody behind an address who shows what may be a guess.
    pub(super) fn at(source: IpAddr) -> Whose {
        Whose(network(source))
    }

    /// Everybody behind an address who shows nothing that can be looked at. Apart: it is no guess, and stops none who show a
    /// key for the first time.
    pub(super) fn without(source: IpAddr) -> Whose {
        Whose(format!("-{}", network(source)))
    }

    /// Whoever shows this: by itself where it cannot be a guess, because its signature holds or because it was good a while
    /// ago, else with all others behind the address.
    pub(super) async fn showing(&self, proof: Option<&CredentialProof>, source: IpAddr) -> Whose {
        match proof {
            Some(session @ CredentialProof::Session { .. }) => Whose(named(session)),
            Some(key) if self.good.get(&named(key)).await.is_ok_and(|found| found.is_some()) => Whose(named(key)),
            _ => Self::at(source),
        }
    }

    /// The credential was good.
    pub(super) async fn was_good(&self, proof: &CredentialProof) {
        if !matches!(proof, CredentialProof::Session { .. }) {
            // One that does not fit in is counted with its address, as before it was ever shown.
            let _ = self.good.set(&named(proof), &[], Some(GOOD_FOR)).await;
        }
    }

    /// The credential is good no longer.
    pub(super) async fn was_bad(&self, proof: &CredentialProof) {
        let _ = self.good.delete(&named(proof)).await;
    }

    /// Refuses whoever was wrong too often just now. `recorded` says whether what is asked would be a row.
    pub(super) async fn check(&self, whose: &Whose, recorded: bool) -> Result<(), Refusal> {
        let barred = self.limited && self.counts.get(&barred(whose)).await.is_ok_and(|found| found.is_some());
        if !barred {
            return Ok(());
        }
        self.unwritten.fetch_add(u64::from(recorded), Ordering::Relaxed);
        Err(Refusal { error: too_many(), actor: None, row: Row::Counted })
    }

    /// Counts somebody who is nobody; says what they are told and what is written about it.
    pub(super) async fn refused(&self, whose: &Whose, error: Error, recorded: bool) -> Refusal {
        let taken = self.counts.take(&format!("nobody:{}", whose.0), Quota::per_minute(REFUSALS_PER_MINUTE), 1).await;
        let over = taken.ok().filter(|taken| !taken.allowed);
        let Some(over) = over else {
            let row = if recorded { self.row(Row::Own).await } else { Row::Own };
            return Refusal { error, actor: None, row };
        };
        let row = if recorded { self.row(self.flood(whose).await).await } else { Row::Counted };
        if !self.limited {
            return Refusal { error, actor: None, row };
        }
        let _ = self.counts.set(&barred(whose), &[], Some(over.retry_after.max(Duration::from_secs(1)))).await;
        Refusal { error: too_many(), actor: None, row }
    }

    /// A flood is a row once in a while.
    async fn flood(&self, whose: &Whose) -> Row {
        let told = self.counts.set_if_absent(&format!("told:{}", whose.0), &[], Some(FLOOD_EVERY)).await;
        if told.is_ok_and(|first| first) { Row::Flood { unwritten: 0 } } else { Row::Counted }
    }

    /// The row that is wanted, while there is room for it.
    async fn row(&self, wanted: Row) -> Row {
        let room = async || {
            let taken = self.counts.take("rows", Quota::per_minute(ROWS_PER_MINUTE), 1).await;
            taken.is_ok_and(|taken| taken.allowed)
        };
        if wanted == Row::Counted || !room().await {
            self.unwritten.fetch_add(1, Ordering::Relaxed);
            return Row::Counted;
        }
        match wanted {
            Row::Flood { .. } => Row::Flood { unwritten: self.unwritten.swap(0, Ordering::Relaxed) + 1 },
            row => row,
        }
    }
}

/// Who has one address of IPv6 has all of its network.
fn network(source: IpAddr) -> String {
    match source.to_canonical() {
        IpAddr::V4(four) => four.to_string(),
        IpAddr::V6(six) => {
            let [one, two, three, four, ..] = six.segments();
            Ipv6Addr::new(one, two, three, four, 0, 0, 0, 0).to_string()
        }
    }
}

fn named(proof: &CredentialProof) -> String {
    match proof {
        CredentialProof::ApiKey { id, digest } => format!("k{id}:{digest}"),
        CredentialProof::LegacyApiKey { digest } => format!("l{digest}"),
        // An older token of a session that goes on is another credential: whoever has it holds nobody up.
        CredentialProof::Session { session_id, pair_id, .. } => {
            let pair = pair_id.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("s{session_id}:{pair}")
        }
    }
}

fn barred(whose: &Whose) -> String {
    format!("barred:{}", whose.0)
}

fn too_many() -> Error {
    Error::new(Code::RateLimited, "too many requests without a good credential from this address").retry_after(30)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::DateTime;
    use roadstead_contracts::ids::{ApiKeyId, SessionId, TypedId as _, UserId};
    use roadstead_runtime::ManualClock;
    use uuid::Uuid;

    use super::*;

    fn nobody(limited: bool) -> (Nobody, ManualClock) {
        let clock = ManualClock::at(DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        (Nobody::new(Arc::new(clock.clone()), limited), clock)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn regression_a_flood_of_nobody_is_few_rows_and_one_that_says_so() {
        let (nobody, clock) = nobody(true);
        let here = Nobody::without(address("203.0.113.9"));
        let (mut own, mut floods, mut limited) = (0, 0, 0);
        for _ in 0..1_000 {
            let refusal = match nobody.check(&here, true).await {
                Ok(()) => nobody.refused(&here, Code::Unauthenticated.into(), true).await,
                Err(refusal) => refusal,
            };
            own += u32::from(refusal.row == Row::Own);
            floods += u32::from(matches!(refusal.row, Row::Flood { .. }));
            limited += u32::from(refusal.error.code == Code::RateLimited);
        }
        assert_eq!((own, floods, limited), (REFUSALS_PER_MINUTE, 1, 1_000 - REFUSALS_PER_MINUTE));
        // Another address is another matter.
        let elsewhere = Nobody::at(address("203.0.113.10"));
        assert_eq!(nobody.refused(&elsewhere, Code::Unauthenticated.into(), true).await.row, Row::Own);
        assert!(nobody.check(&Nobody::at(address("203.0.113.9")), true).await.is_ok(), "nobody guessed");
        // What would be no row is none, and is not said to be missing.
        let reads = nobody.refused(&here, Code::Unauthenticated.into(), false).await;
        assert_eq!((reads.row, reads.error.code), (Row::Counted, Code::RateLimited));
        // The next that is written tells how many were not.
        clock.advance(chrono::Duration::seconds(61));
        let mut told = None;
        for _ in 0..=REFUSALS_PER_MINUTE {
            let refusal = nobody.refused(&here, Code::Unauthenticated.into(), true).await;
            if let Row::Flood { unwritten } = refusal.row {
                told = Some(unwritten);
            }
        }
        assert_eq!(told, Some(u64::from(1_000 - REFUSALS_PER_MINUTE)));
    }

    #[tokio::test]
    async fn many_addresses_write_no_more_than_ten() {
        let (nobody, _) = nobody(false);
        let mut rows = 0;
        for number in 0..5_000_u32 {
            let whose = Nobody::at(IpAddr::from(number.to_be_bytes()));
            let refusal = nobody.refused(&whose, Code::Unauthenticated.into(), true).await;
            assert_eq!(refusal.error.code, Code::Unauthenticated, "who is not counted is not turned away");
            rows += u32::from(refusal.row != Row::Counted);
        }
        assert_eq!(rows, ROWS_PER_MINUTE);
        assert_eq!(Nobody::at(address("2001:db8::1")), Nobody::at(address("2001:db8::ffff:1:2")));
        assert_eq!(Nobody::at(address("::ffff:192.0.2.1")), Nobody::at(address("192.0.2.1")));
    }

    #[tokio::test]
    async fn regression_what_is_known_to_be_good_is_counted_by_itself() {
        let (nobody, clock) = nobody(true);
        let source = address("203.0.113.9");
        let key = |digest: &str| CredentialProof::ApiKey {
            id: ApiKeyId::from_uuid(Uuid::from_u128(1)),
            digest: digest.to_owned(),
        };
        let session = CredentialProof::Session {
            session_id: SessionId::from_uuid(Uuid::from_u128(2)),
            user_id: UserId::from_uuid(Uuid::from_u128(3)),
            pair_id: None,
        };
        nobody.was_good(&key("aa")).await;
        let apart = [nobody.showing(Some(&key("aa")), source).await, nobody.showing(Some(&session), source).await];
        let here = nobody.showing(Some(&key("bb")), source).await;
        assert_eq!(here, Nobody::at(source), "another secret of the key is a guess");
        for _ in 0..100 {
            nobody.refused(&here, Code::InvalidCredential.into(), true).await;
        }
        assert!(nobody.check(&here, true).await.is_err());
        for whose in &apart {
            assert!(nobody.check(whose, true).await.is_ok());
        }
        // Until it is known to be bad, or was not seen for a while.
        nobody.was_bad(&key("aa")).await;
        assert_eq!(nobody.showing(Some(&key("aa")), source).await, here);
        nobody.was_good(&key("aa")).await;
        clock.advance(chrono::Duration::seconds(601));
        assert_eq!(nobody.showing(Some(&key("aa")), source).await, here);
    }
}
