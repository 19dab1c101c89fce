//! The second proof of accounts with a password: codes of an authenticator app, or recovery codes. Passkeys are the other one
//! (`passkeys`, `add_passkey`, `passkey_login`).

use std::time::Duration;

use chrono::{DateTime, Utc};
use roadstead_auth::token::digest;
use roadstead_auth::totp::TotpSecret;
use roadstead_contracts::identity::{Action, CredentialKind, Principal};
use roadstead_contracts::ids::UserId;
use roadstead_contracts::{Code, Error, Result};
use roadstead_kv::Quota;
use roadstead_runtime::Secret;
use roadstead_seal::Sealed;

use super::{App, password_fault};
use crate::domain::{Authenticator, CLOCKS_APART, RECENT_SIGN_IN, RECOVERY_CODES, SecondFactors, User};

/// Where the secret stands.
const SEALED: (&str, &str) = ("authenticators", "sealed_secret");
/// Who the hub is to an app.
const ISSUER: &str = "Roadstead";
/// Codes an hour of an account: six digits with three good ones at a time are not guessed within years. Only who has the
/// password gets here, so nobody else is kept out by it.
const CODES_AN_HOUR: u32 = 20;
/// Random bytes of a recovery code: 80 bits, sixteen characters.
const RECOVERY_BYTES: usize = 10;

/// What an app is told once.
#[derive(Debug)]
pub struct Enrolment {
    /// For typing.
    pub secret: Secret,
    /// For a QR code.
    pub uri: Secret,
}

impl App {
    /// Begins to add an app. It takes what adding a passkey takes (`may_add_factor`): with an app come new recovery codes,
    /// which stand in for every passkey.
    pub async fn begin_authenticator(
        &self,
        caller: &Principal,
        password: Secret,
        code: Option<&str>,
        source: std::net::IpAddr,
    ) -> Result<Enrolment> {
        self.may_add_factor(caller, password, code, source).await?;
        let secret = TotpSecret::random(&self.ids);
        let sealed = self.sealer.seal(SEALED.0, SEALED.1, caller.user_id, secret.bytes()).map_err(broken)?;
        if !self.store.begin_authenticator(caller.user_id, sealed.as_str(), self.clock.now()).await? {
            return Err(Error::new(Code::Conflict, "the account has an authenticator app; remove it first"));
        }
        Ok(Enrolment { secret: secret.base32(), uri: secret.uri(ISSUER, &caller.username) })
    }

    /// Shows that the app works. Gives recovery codes, here and never again.
    pub async fn confirm_authenticator(&self, caller: &Principal, code: &str) -> Result<Vec<Secret>> {
        let wrong = || Error::field(&["body", "code"], "value_error", "the code is wrong");
        self.take_code_try(caller.user_id).await?;
        let known = self.store.authenticator(caller.user_id).await?.filter(|known| !known.confirmed);
        let known = known.ok_or_else(|| Error::new(Code::Conflict, "there is no authenticator app to confirm"))?;
        let secret = self.open(caller.user_id, &known)?;
        let step = secret.accept(code, self.clock.now().timestamp(), known.last_step).ok_or_else(wrong)?;
        let (codes, digests) = self.recovery_codes()?;
        let now = self.clock.now();
        if !self.store.confirm_authenticator(caller.user_id, step, &digests, now).await? {
            return Err(Error::new(Code::Conflict, "there is no authenticator app to confirm"));
        }
        Ok(codes)
    }

    /// Whether codes are asked for, and how many recovery codes are left.
    pub async fn authenticator_of(&self, user: UserId) -> Result<(bool, u32)> {
        let confirmed = self.store.authenticator(user).await?.is_some_and(|known| known.confirmed);
        Ok((confirmed, self.store.recovery_codes_left(user).await?))
    }

    /// Removes one's own app, with a code of it.
    pub async fn remove_authenticator(&self, caller: &Principal, code: &str) -> Result<()> {
        let user = self.own_user(caller.user_id).await?;
        self.second_proof(&user, Some(code)).await?;
        self.store.remove_authenticator(caller.user_id).await?;
        Ok(())
    }

    /// Removes somebody's app, on an admin's word: a lost telephone.
    pub async fn remove_authenticator_of(&self, by: &Principal, which: &str) -> Result<()> {
        if !self.permits(by, Action::UsersWrite) {
            return Err(Error::of(Code::Forbidden));
        }
        let user = self.user(which).await?;
        Self::check_rank(by, &user)?;
        let gone = self.store.remove_authenticator(user.id).await?;
        if gone { Ok(()) } else { Err(Error::not_found("the account has no authenticator app")) }
    }

    /// What an account asks for beside its password.
    pub async fn second_factors(&self, user: UserId) -> Result<SecondFactors> {
        let authenticator_app = self.store.authenticator(user).await?.is_some_and(|known| known.confirmed);
        Ok(SecondFactors { passkeys: self.store.passkeys(user).await?.len(), authenticator_app })
    }

    /// What it takes to add a second proof, of whichever kind: the password, since a stolen session or key must neither lock its
    /// owner out nor become a way in, and where there is a second proof already, that too. An account that has none has nothing
    /// more to ask for, however old the session is: with the password alone its holder could sign in anew.
    pub(super) async fn may_add_factor(
        &self,
        caller: &Principal,
        password: Secret,
        code: Option<&str>,
        source: std::net::IpAddr,
    ) -> Result<()> {
        self.prove_password(caller, password, source).await?;
        self.recent_proof(caller, code).await
    }

    /// Asks for the caller's own password once more.
    async fn prove_password(&self, caller: &Principal, password: Secret, source: std::net::IpAddr) -> Result<()> {
        // A stolen session must not be a place to guess the password.
        let tried = self.begin_try(&caller.username, source, None).await?;
        let stored = self.store.user_for_login(&caller.username).await?.and_then(|(_, hash)| hash);
        if !self.hasher.verify(password, stored).await.map_err(password_fault)? {
            self.failed_try(tried).await;
            return Err(Error::field(&["body", "password"], "value_error", "Current password is incorrect"));
        }
        Ok(())
    }

    /// Asks an account that has one for its second proof.
    pub(super) async fn second_proof(&self, user: &User, code: Option<&str>) -> Result<()> {
        let app = self.store.authenticator(user.id).await?.filter(|known| known.confirmed);
        let passkeys = !self.store.passkeys(user.id).await?.is_empty();
        let wanted = match (&app, passkeys) {
            (None, false) => return Ok(()),
            (Some(_), false) => "a code of the authenticator app is required",
            (Some(_), true) => "a passkey, or a code of the authenticator app, is required",
            (None, true) => "a passkey, or a recovery code, is required",
        };
        let refused = |words: &'static str| Error::new(Code::SecondFactorRequired, words);
        let code = code.map(str::trim).filter(|code| !code.is_empty()).ok_or_else(|| refused(wanted))?;
        self.take_code_try(user.id).await?;
        let step = match &app {
            Some(known) => self.open(user.id, known)?.accept(code, self.clock.now().timestamp(), known.last_step),
            None => None,
        };
        let good = if let Some(step) = step {
            self.store.spend_step(user.id, step).await?
        } else {
            let digest = self.recovery_digest(code)?;
            self.store.spend_recovery_code(user.id, &digest, self.clock.now()).await?
        };
        if good { Ok(()) } else { Err(refused("the code is wrong, or was used before")) }
    }

    /// What it takes to change how one signs in, where there is a second proof: a sign-in of just now, for which it was asked,
    /// or a code.
    pub(super) async fn recent_proof(&self, caller: &Principal, code: Option<&str>) -> Result<()> {
        if code.is_none() && self.signed_in_just_now(caller).await? {
            return Ok(());
        }
        let user = self.own_user(caller.user_id).await?;
        self.second_proof(&user, code).await
    }

    async fn signed_in_just_now(&self, caller: &Principal) -> Result<bool> {
        let CredentialKind::Session(id) = caller.credential else { return Ok(false) };
        let now = self.clock.now();
        let sessions = self.store.sessions(caller.user_id, now).await?;
        Ok(sessions.iter().any(|session| session.id == id && is_just_now(session.created_at, now)))
    }

    /// New recovery codes, and their sealed digests.
    pub(super) fn recovery_codes(&self) -> Result<(Vec<Secret>, Vec<String>)> {
        let codes: Vec<Secret> = (0..RECOVERY_CODES).map(|_| self.recovery_code()).collect();
        let digests = codes.iter().map(|code| self.recovery_digest(code.expose())).collect::<Result<_>>()?;
        Ok((codes, digests))
    }

    async fn take_code_try(&self, user: UserId) -> Result<()> {
        let quota = Quota { per: Duration::from_secs(3_600), limit: CODES_AN_HOUR, burst: CODES_AN_HOUR };
        let taken = self.take_quota(&format!("codes:{user}"), quota, 1).await;
        super::throttle::verdict(&taken)
    }

    fn open(&self, user: UserId, known: &Authenticator) -> Result<TotpSecret> {
        let sealed = Sealed::parse(&known.sealed_secret).map_err(broken)?;
        let plain = self.sealer.unseal(SEALED.0, SEALED.1, user, &sealed).map_err(broken)?;
        TotpSecret::from_bytes(&plain).ok_or_else(|| Error::of(Code::Internal))
    }

    fn recovery_code(&self) -> Secret {
        let bytes = self.ids.random_bytes::<RECOVERY_BYTES>();
        let text = bytes.iter().fold(String::new(), |text, byte| text + format!("{byte:02x}").as_str());
        let groups: Vec<String> =
            text.as_bytes().chunks(5).map(|chunk| String::from_utf8_lossy(chunk).into_owned()).collect();
        Secret::new(groups.join("-"))
    }

    /// Spaces, hyphens and case do not count: people copy these from paper.
    fn recovery_digest(&self, code: &str) -> Result<String> {
        let plain: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
        self.keys.seal(&digest(&format!("recovery {}", plain.to_ascii_lowercase())))
    }
}

/// A sign-in from the future is not of just now: the clock was put back, and nobody knows by how much.
fn is_just_now(signed_in: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    signed_in <= now + CLOCKS_APART && now < signed_in + RECENT_SIGN_IN
}

#[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
fn broken(fault: roadstead_seal::Error) -> Error {
    tracing::error!("the secret of an authenticator app cannot be used: {fault}");
    Error::of(Code::IntegrityError)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn regression_a_sign_in_from_the_future_is_not_of_just_now() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let ago = |seconds: i64| is_just_now(now - TimeDelta::seconds(seconds), now);
        assert!(ago(0) && ago(599));
        assert!(!ago(600) && !ago(3_600));
        assert!(ago(-30), "replicas' clocks are not the same to the second");
        assert!(!ago(-31) && !ago(-3_600));
    }
}
