//! The second proof of accounts with a password: codes of an authenticator app, or recovery codes.

use std::time::Duration;

use roadstead_auth::token::digest;
use roadstead_auth::totp::TotpSecret;
use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::ids::UserId;
use roadstead_contracts::{Code, Error, Result};
use roadstead_kv::Quota;
use roadstead_runtime::Secret;
use roadstead_seal::Sealed;

use super::{App, password_fault};
use crate::domain::{Authenticator, RECOVERY_CODES, User};

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
    /// Begins to add an app. The password is asked for: a stolen session must not lock its owner out.
    pub async fn begin_authenticator(
        &self,
        caller: &Principal,
        password: Secret,
        source: std::net::IpAddr,
    ) -> Result<Enrolment> {
        let tried = self.begin_try(&caller.username, source, None).await?;
        let stored = self.store.user_for_login(&caller.username).await?.and_then(|(_, hash)| hash);
        if !self.hasher.verify(password, stored).await.map_err(password_fault)? {
            self.failed_try(tried).await;
            return Err(Error::field(&["body", "password"], "value_error", "Current password is incorrect"));
        }
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
        let codes: Vec<Secret> = (0..RECOVERY_CODES).map(|_| self.recovery_code()).collect();
        let digests = codes.iter().map(|code| self.recovery_digest(code.expose())).collect::<Result<Vec<_>>>()?;
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

    /// Asks an account with an app for its second proof.
    pub(super) async fn second_proof(&self, user: &User, code: Option<&str>) -> Result<()> {
        let Some(known) = self.store.authenticator(user.id).await?.filter(|known| known.confirmed) else {
            return Ok(());
        };
        let refused = |words: &'static str| Error::new(Code::SecondFactorRequired, words);
        let asked = || refused("a code of the authenticator app is required");
        let code = code.map(str::trim).filter(|code| !code.is_empty()).ok_or_else(asked)?;
        self.take_code_try(user.id).await?;
        let secret = self.open(user.id, &known)?;
        let good = if let Some(step) = secret.accept(code, self.clock.now().timestamp(), known.last_step) {
            self.store.spend_step(user.id, step).await?
        } else {
            let digest = self.recovery_digest(code)?;
            self.store.spend_recovery_code(user.id, &digest, self.clock.now()).await?
        };
        if good { Ok(()) } else { Err(refused("the code is wrong, or was used before")) }
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

#[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
fn broken(fault: roadstead_seal::Error) -> Error {
    tracing::error!("the secret of an authenticator app cannot be used: {fault}");
    Error::of(Code::IntegrityError)
}
