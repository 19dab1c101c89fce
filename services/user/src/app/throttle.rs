//! Guessing passwords ends early: so many tries a minute for an account from one source, so many failures a minute for an
//! account from anywhere and for a source over all accounts (reliability row A10).

use std::net::IpAddr;

use roadstead_auth::token;
use roadstead_contracts::ids::UserId;
use roadstead_contracts::{Code, Error, Result};
use roadstead_kv::{Kv as _, Quota, Taken};
use roadstead_runtime::Secret;

use super::App;

/// Failures a minute of an account from anywhere, in multiples of the setting.
const ACCOUNT_FACTOR: u32 = 2;
/// Failures a minute of a source over all accounts, in multiples of the setting: an office has more than one forgetful
/// person.
const SOURCE_FACTOR: u32 = 3;

/// Counts one try at an account.
#[derive(Debug)]
pub(super) struct Try {
    account: String,
    source: String,
    per_minute: u32,
    /// Whether a failure counts against account and source.
    counts: bool,
}

impl App {
    /// Takes a try, or says when to come back. `name` is as sent, whether it is anybody's or not. A device that logged in
    /// to the account before has tries of its own: what others fail at from anywhere does not keep its owner out.
    pub(super) async fn begin_try(&self, name: &str, source: IpAddr, device: Option<&str>) -> Result<Option<Try>> {
        let Some(per_minute) = self.options.login_per_minute else { return Ok(None) };
        // A digest bounds the key's length and keeps names out of Redis.
        let account = token::digest(name);
        let tried = Try { source: source_key(source), account, per_minute, counts: device.is_none() };
        if let Some(device) = device {
            verdict(&self.take(&format!("login:{}:d:{device}", tried.account), per_minute, 1).await)?;
            return Ok(Some(tried));
        }
        let both = format!("login:{}:{}", tried.account, tried.source);
        verdict(&self.take(&both, per_minute, 1).await)?;
        for (key, limit) in tried.failure_keys() {
            let left = self.take(&key, limit, 0).await;
            if left.remaining == 0 {
                return Err(refusal(60 / u64::from(limit.max(1)) + 1));
            }
        }
        Ok(Some(tried))
    }

    /// The try failed.
    pub(super) async fn failed_try(&self, tried: Option<Try>) {
        for (key, limit) in tried.iter().filter(|tried| tried.counts).flat_map(Try::failure_keys) {
            self.take(&key, limit, 1).await;
        }
    }

    async fn take(&self, key: &str, per_minute: u32, cost: u32) -> Taken {
        self.take_quota(key, Quota::per_minute(per_minute), cost).await
    }

    /// Takes from a quota; this process's own count stands in while the shared one is away.
    pub(super) async fn take_quota(&self, key: &str, quota: Quota, cost: u32) -> Taken {
        match self.kv.take(key, quota, cost).await {
            Ok(taken) => taken,
            Err(_) => match self.local.take(key, quota, cost).await {
                Ok(taken) => taken,
                // Full: whoever fills it is refused with the others.
                Err(_) => Taken {
                    allowed: false,
                    remaining: 0,
                    limit: quota.limit,
                    reset_after: quota.per,
                    retry_after: quota.per,
                },
            },
        }
    }
}

impl Try {
    fn failure_keys(&self) -> [(String, u32); 2] {
        [
            (format!("login-failed:a:{}", self.account), self.per_minute.saturating_mul(ACCOUNT_FACTOR)),
            (format!("login-failed:s:{}", self.source), self.per_minute.saturating_mul(SOURCE_FACTOR)),
        ]
    }
}

/// Random bytes of a device's mark.
const DEVICE_BYTES: usize = 16;
/// Longest mark that is looked at.
const MARK_MAX: usize = 128;

impl App {
    /// The mark of a device that has just logged in to an account: `<device>.<proof>`. It proves nothing but that.
    pub fn device_mark(&self, user: UserId) -> Result<Secret> {
        let device = token::digest(self.ids.token(DEVICE_BYTES).expose());
        let device = device.get(..DEVICE_BYTES * 2).unwrap_or_default();
        Ok(Secret::new(format!("{device}.{}", self.keys.seal(&mark_digest(user, device))?)))
    }

    /// The device of a mark, when it logged in to this account before.
    pub(super) fn known_device(&self, user: UserId, mark: Option<&Secret>) -> Option<String> {
        let text = mark?.expose();
        let (device, proof) = Some(text).filter(|text| text.len() <= MARK_MAX)?.split_once('.')?;
        let good = token::digests_equal(&self.keys.seal(&mark_digest(user, device)).ok()?, proof);
        good.then(|| device.to_owned())
    }
}

fn mark_digest(user: UserId, device: &str) -> String {
    token::digest(&format!("device {user} {device}"))
}

/// An IPv6 client owns a /64 at least: its addresses count as one.
fn source_key(source: IpAddr) -> String {
    match source.to_canonical() {
        IpAddr::V4(four) => four.to_string(),
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::")
        }
    }
}

pub(super) fn verdict(taken: &Taken) -> Result<()> {
    if taken.allowed { Ok(()) } else { Err(refusal(taken.retry_after.as_secs() + 1)) }
}

fn refusal(seconds: u64) -> Error {
    let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
    Error::new(Code::RateLimited, "Too many login attempts. Try again later.").retry_after(seconds)
}
