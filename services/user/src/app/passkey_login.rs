//! Sign-ins with a passkey: after the password, or alone. Alone, the authenticator must make sure who is there, and nothing is
//! guessed: what others fail at keeps nobody out.

use roadstead_auth::webauthn::{self, AssertionAnswer, Expected, Known};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::Secret;

use super::login::LoginFrom;
use super::{App, Issued, PasskeyFault};
use crate::domain::{Passkey, Purpose};

/// Random bytes of what binds a sign-in to its browser.
const BINDING_BYTES: usize = 32;

/// What a browser is asked for.
#[derive(Debug)]
pub struct PasskeyWish {
    /// The hub's name to browsers.
    pub party: String,
    /// The challenge.
    pub challenge: Secret,
    /// What the browser keeps.
    pub binding: Secret,
    /// The passkeys that may answer; any when there is none.
    pub known: Vec<Passkey>,
    /// Whether the authenticator must make sure who is there.
    pub verified: bool,
}

/// What a browser answered.
#[derive(Debug)]
pub struct PasskeyAnswer {
    /// The statements.
    pub answer: AssertionAnswer,
    /// What the authenticator knows the account by.
    pub handle: Option<String>,
    /// What the browser kept.
    pub binding: Option<Secret>,
}

impl App {
    /// Begins a sign-in: with name and password, for which a passkey of that account is the second proof; or with neither, for
    /// which any passkey will do that says whose it is. Which passkeys an account has is told to who has its password.
    pub async fn begin_passkey_login(&self, who: Option<(&str, Secret)>, from: &LoginFrom) -> Result<PasskeyWish> {
        let party = self.party()?.id().to_owned();
        let binding = self.ids.token(BINDING_BYTES);
        let (purpose, user, known) = match who {
            None => (Purpose::Alone, None, Vec::new()),
            Some((name, password)) => {
                let (user, _) = self.prove_login(name, &password, from).await?;
                let known = self.store.passkeys(user.id).await?;
                if known.is_empty() {
                    return Err(Error::new(Code::Conflict, "the account has no passkey"));
                }
                (Purpose::AfterPassword, Some(user.id), known)
            }
        };
        let challenge = self.give_challenge(purpose, user, binding.expose()).await?;
        Ok(PasskeyWish { party, challenge, binding, known, verified: purpose == Purpose::Alone })
    }

    /// Signs in with what the browser answered. Answers also what proved it, for the trail.
    pub async fn finish_passkey_login(
        &self,
        answer: PasskeyAnswer,
        from: LoginFrom,
    ) -> Result<(Issued, &'static str), PasskeyFault> {
        let outcome = self.judge_passkey(answer, from).await;
        self.count("passkey", outcome.is_ok());
        outcome
    }

    async fn judge_passkey(
        &self,
        answer: PasskeyAnswer,
        from: LoginFrom,
    ) -> Result<(Issued, &'static str), PasskeyFault> {
        let party = self.party()?;
        let PasskeyAnswer { answer, handle, binding } = answer;
        let over = || PasskeyFault::sign_in("challenge", None);
        let challenge = answer.challenge().ok_or_else(over)?;
        let binding = binding.as_ref().map(Secret::expose);
        let ceremony = self.take_challenge(&challenge, binding).await?.ok_or_else(over)?;
        let alone = match ceremony.purpose {
            Purpose::Alone => true,
            Purpose::AfterPassword => false,
            Purpose::Add => return Err(over()),
        };
        let unknown = || PasskeyFault::sign_in("unknown_passkey", None);
        let known = self.store.known_passkey(&answer.id.base64url()).await?.ok_or_else(unknown)?;
        let (passkey, user) = (known.passkey, known.user);
        let refuse = |reason| PasskeyFault::sign_in(reason, Some(&user));
        if ceremony.user_id.is_some_and(|wanted| wanted != user.id) {
            return Err(refuse("foreign_passkey"));
        }
        // Alone, the passkey says whose it is; where it says so, it must be right (§7.2, step 6).
        let expected = self.passkey_handle(user.id)?;
        if handle.map_or(alone, |handle| handle != expected) {
            return Err(refuse("user_handle"));
        }
        let known = Known {
            public_key: &passkey.public_key,
            sign_count: passkey.sign_count,
            backup_eligible: passkey.backup_eligible,
        };
        let expected = Expected { party, challenge: &challenge, verified: alone };
        let asserted = webauthn::assert(&answer, &known, &expected).map_err(|refusal| refuse(refusal.as_str()))?;
        if !user.active {
            return Err(refuse("inactive"));
        }
        let now = self.clock.now();
        if !self.store.use_passkey(passkey.id, asserted.sign_count, asserted.backed_up, now).await? {
            // Another sign-in with the same counter was first.
            return Err(refuse(webauthn::Refusal::Counter.as_str()));
        }
        let issued = self.open_login(user, from.origin, from.browser).await?;
        Ok((issued, if alone { "passkey" } else { "password+passkey" }))
    }
}
