//! The passkeys of an account, and the challenges that browsers are asked to answer. A challenge counts once, for five minutes,
//! for whoever it was given to and for what it was given; of it only a sealed digest is stored.

use roadstead_auth::token::{digest, digests_equal};
use roadstead_auth::webauthn::{CHALLENGE_BYTES, Party, Refusal};
use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::ids::{PasskeyId, UserId};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::Secret;

use super::App;
use crate::domain::{CEREMONY_LIFE, Ceremony, Passkey, Purpose, User, check_passkey_name};
use crate::oidc::refused;

/// Why there are none, for whoever asks.
pub const PASSKEYS_OFF: &str = "passkeys are off on this hub: they take password logins, and a server.public_url that \
    begins with https and has a name, or is on localhost";

/// An answer that did not hold: what its sender is told, and what the trail keeps.
#[derive(Debug)]
pub struct PasskeyFault {
    /// What its sender is told.
    pub error: Error,
    /// A word for the trail, when there is more to say.
    pub reason: Option<&'static str>,
    /// The account that it was about.
    pub username: Option<String>,
}

impl From<Error> for PasskeyFault {
    fn from(error: Error) -> Self {
        Self { error, reason: None, username: None }
    }
}

impl From<roadstead_store::Error> for PasskeyFault {
    fn from(fault: roadstead_store::Error) -> Self {
        Error::from(fault).into()
    }
}

impl PasskeyFault {
    /// A sign-in, refused. Which check failed is not told: that would help a forger.
    pub(super) fn sign_in(reason: &'static str, user: Option<&User>) -> Self {
        let error = refused("the passkey was refused, or this sign-in is over");
        Self { error, reason: Some(reason), username: user.map(|user| user.username.clone()) }
    }

    /// A new passkey, refused.
    pub(super) fn new_passkey(refusal: Refusal) -> Self {
        let error = Error::field(&["body", "credential"], "value_error", "this passkey cannot be added");
        Self { error, reason: Some(refusal.as_str()), username: None }
    }
}

impl App {
    /// Who the hub is to browsers.
    pub(super) fn party(&self) -> Result<&Party> {
        self.options.party.as_ref().ok_or_else(|| Error::new(Code::Forbidden, PASSKEYS_OFF))
    }

    /// What an authenticator knows an account by: it says nothing about it, and is the same for all its passkeys.
    pub(super) fn passkey_handle(&self, user: UserId) -> Result<String> {
        // 64 hexadecimal digits, which are base64url of 48 bytes as well: so they go to browsers and come back as they are.
        self.keys.seal(&digest(&format!("passkey {user}")))
    }

    /// Gives a challenge out.
    pub(super) async fn give_challenge(
        &self,
        purpose: Purpose,
        user_id: Option<UserId>,
        binding: &str,
    ) -> Result<Secret> {
        let challenge = self.ids.token(CHALLENGE_BYTES);
        let now = self.clock.now();
        let ceremony = Ceremony {
            challenge: self.keys.seal(&digest(challenge.expose()))?,
            purpose,
            user_id,
            binding: self.keys.seal(&digest(binding))?,
            expires_at: now + CEREMONY_LIFE,
        };
        match self.store.begin_ceremony(&ceremony, now).await? {
            None => return Err(Error::new(Code::Unavailable, "too many sign-ins are on their way").retry_after(60)),
            Some(0) => {}
            Some(_) => tracing::warn!("so many sign-ins with passkeys were begun that the oldest were given up"),
        }
        Ok(challenge)
    }

    /// Takes a challenge that an answer claims to be for: once, whatever comes of it.
    pub(super) async fn take_challenge(&self, claimed: &str, binding: Option<&str>) -> Result<Option<Ceremony>> {
        let sealed = self.keys.seal(&digest(claimed))?;
        let Some(ceremony) = self.store.take_ceremony(&sealed, self.clock.now()).await? else { return Ok(None) };
        let Some(binding) = binding else { return Ok(None) };
        let same = digests_equal(&ceremony.binding, &self.keys.seal(&digest(binding))?);
        Ok(same.then_some(ceremony))
    }

    /// The passkeys of an account, oldest first.
    pub async fn passkeys(&self, user: UserId) -> Result<Vec<Passkey>> {
        Ok(self.store.passkeys(user).await?)
    }

    /// Calls one of the caller's passkeys something else.
    pub async fn rename_passkey(&self, caller: &Principal, which: &str, name: &str) -> Result<()> {
        let name = check_passkey_name(name)?;
        let done = self.store.rename_passkey(caller.user_id, passkey_id(which)?, &name).await;
        if done.map_err(super::taken)? { Ok(()) } else { Err(no_passkey()) }
    }

    /// Removes one of the caller's passkeys, after a sign-in of just now or with a code.
    pub async fn remove_passkey(&self, caller: &Principal, which: &str, code: Option<&str>) -> Result<()> {
        let id = passkey_id(which)?;
        self.recent_proof(caller, code).await?;
        if self.store.remove_passkey(caller.user_id, id).await? { Ok(()) } else { Err(no_passkey()) }
    }

    /// Removes every second proof of somebody, on an admin's word: a lost telephone with the key beside it.
    pub async fn remove_second_factors_of(&self, by: &Principal, which: &str) -> Result<()> {
        if !self.permits(by, Action::UsersWrite) {
            return Err(Error::of(Code::Forbidden));
        }
        let user = self.user(which).await?;
        Self::check_rank(by, &user)?;
        let gone = self.store.remove_second_factors(user.id).await?;
        if gone { Ok(()) } else { Err(Error::not_found("the account has no second factor")) }
    }
}

fn passkey_id(text: &str) -> Result<PasskeyId> {
    text.parse().map_err(|_| no_passkey())
}

fn no_passkey() -> Error {
    Error::not_found("Passkey not found")
}
