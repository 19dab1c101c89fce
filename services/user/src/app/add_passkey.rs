use std::net::IpAddr;

use roadstead_auth::webauthn::{self, Expected, RegistrationAnswer};
use roadstead_contracts::identity::{CredentialKind, Principal};
use roadstead_contracts::ids::SessionId;
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::Secret;

use super::service_accounts::has_password;
use super::{App, PasskeyFault, taken};
use crate::domain::{PASSKEYS_MAX, Passkey, Purpose, check_passkey_name, plain_transports};
use crate::store::PasskeyAdded;

/// What a browser is asked for.
#[derive(Debug)]
pub struct NewPasskeyWish {
    /// The hub's name to browsers.
    pub party: String,
    /// The challenge.
    pub challenge: Secret,
    /// What authenticators know the account by.
    pub handle: String,
    /// Name of the account.
    pub username: String,
    /// Passkeys that the account has: an authenticator that holds one makes no other.
    pub known: Vec<Passkey>,
}

/// What a browser answered.
#[derive(Debug)]
pub struct NewPasskey {
    /// What its owner calls it.
    pub name: String,
    /// The statements.
    pub answer: RegistrationAnswer,
    /// How browsers reach it.
    pub transports: Vec<String>,
}

impl App {
    /// Begins to add a passkey. What it takes is said at `may_add_factor`.
    pub async fn begin_passkey(
        &self,
        caller: &Principal,
        password: Secret,
        code: Option<&str>,
        source: IpAddr,
    ) -> Result<NewPasskeyWish> {
        let party = self.party()?.id().to_owned();
        let session = session_of(caller)?;
        if !has_password(&self.own_user(caller.user_id).await?) {
            return Err(Error::new(Code::Conflict, "this account has no password of its own"));
        }
        self.may_add_factor(caller, password, code, source).await?;
        let known = self.store.passkeys(caller.user_id).await?;
        let challenge = self.give_challenge(Purpose::Add, Some(caller.user_id), &session.to_string()).await?;
        let handle = self.passkey_handle(caller.user_id)?;
        Ok(NewPasskeyWish { party, challenge, handle, username: caller.username.clone(), known })
    }

    /// Adds what the browser answered. With an account's first second proof come recovery codes, here and never again.
    pub async fn finish_passkey(
        &self,
        caller: &Principal,
        new: NewPasskey,
    ) -> Result<(Passkey, Vec<Secret>), PasskeyFault> {
        let party = self.party()?;
        let session = session_of(caller)?;
        let name = check_passkey_name(&new.name)?;
        let over =
            || Error::new(Code::Conflict, "this challenge is over, or was not given to this session; begin again");
        let challenge = new.answer.challenge().ok_or_else(over)?;
        let ceremony = self.take_challenge(&challenge, Some(&session.to_string())).await?.ok_or_else(over)?;
        if (ceremony.purpose, ceremony.user_id) != (Purpose::Add, Some(caller.user_id)) {
            return Err(over().into());
        }
        let expected = Expected { party, challenge: &challenge, verified: false };
        let key = webauthn::register(&new.answer, &expected).map_err(PasskeyFault::new_passkey)?;
        let passkey = Passkey {
            id: self.ids.next(),
            user_id: caller.user_id,
            credential_id: key.credential_id.base64url(),
            public_key: key.public_key,
            name,
            transports: plain_transports(new.transports),
            sign_count: key.sign_count,
            backup_eligible: key.backup_eligible,
            backed_up: key.backed_up,
            created_at: self.clock.now(),
            last_used_at: None,
        };
        let (codes, digests) = self.recovery_codes()?;
        match self.store.insert_passkey(&passkey, &digests).await.map_err(taken)? {
            PasskeyAdded::First => Ok((passkey, codes)),
            PasskeyAdded::Another => Ok((passkey, Vec::new())),
            PasskeyAdded::TooMany => {
                let words = format!("an account has at most {PASSKEYS_MAX} passkeys; remove one first");
                Err(Error::new(Code::Conflict, words).into())
            }
        }
    }
}

/// Keys are added by people in browsers: an API key has nobody beside it.
fn session_of(caller: &Principal) -> Result<SessionId> {
    match caller.credential {
        CredentialKind::Session(id) => Ok(id),
        CredentialKind::ApiKey(_) | CredentialKind::QueuePeer(_) => {
            Err(Error::new(Code::Forbidden, "a passkey is added by whoever is signed in, not by an API key"))
        }
    }
}
