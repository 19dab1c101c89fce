//! A login through a provider's pages. What the provider sends back counts once, in the browser that began it, within ten
//! minutes. Nonce and PKCE verifier are never stored: they are derived from what only that browser holds, by the key file's
//! pepper.

use roadstead_auth::oidc::challenge;
use roadstead_auth::token::{digest, digests_equal};
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::Secret;

use super::{App, Issued};
use crate::domain::{
    CODE_LIFE, LOGIN_LIFE, LoginCode, Loopback, ProviderLogin, SessionOrigin, SignIn, User, UserRef, next_page,
};
use crate::oidc::{CODE_MAX, Provider, refused};

/// Random bytes of a state, a binding and a code.
const RANDOM_BYTES: usize = 32;
/// Length of a challenge: base64url of 32 bytes.
const CHALLENGE_LEN: usize = 43;
/// Longest state of a program on the person's machine.
const LOOPBACK_STATE_MAX: usize = 128;

/// What whoever begins a login wants of it.
#[derive(Debug, Default)]
pub struct LoginWish {
    /// Where a browser goes afterwards.
    pub next: Option<String>,
    /// A program on the person's machine that waits for it.
    pub loopback: Option<Loopback>,
}

/// A login that was begun.
#[derive(Debug)]
pub struct Begun {
    /// Where the browser goes.
    pub url: String,
    /// What the browser keeps.
    pub binding: Secret,
}

/// What a provider sends back, as it came.
#[derive(Debug, Default)]
pub struct ProviderAnswer {
    /// State.
    pub state: Option<String>,
    /// Code.
    pub code: Option<Secret>,
    /// Error word.
    pub error: Option<String>,
    /// Issuer (RFC 9207).
    pub issuer: Option<String>,
}

/// What came of a login.
#[derive(Debug)]
pub enum Finished {
    /// For a client that reads JSON.
    Tokens(Issued),
    /// For a browser: a session in a cookie, and a page of the hub.
    Browser(Issued, String),
    /// For a program on the person's machine: where to send the browser.
    Loopback(String),
}

impl App {
    /// Begins a login.
    pub async fn begin_provider_login(&self, provider: Option<&str>, wish: LoginWish) -> Result<Begun> {
        let provider = self.providers.find(provider)?;
        if let Some(loopback) = &wish.loopback {
            check_loopback(loopback)?;
        }
        let (state, binding) = (self.ids.token(RANDOM_BYTES), self.ids.token(RANDOM_BYTES));
        let url =
            provider.authorization_url(state.expose(), &self.nonce(&state)?, &self.verifier(&state, &binding)?).await?;
        let now = self.clock.now();
        let login = ProviderLogin {
            state: self.keys.seal(&digest(state.expose()))?,
            provider: provider.settings.name.clone(),
            binding: self.keys.seal(&digest(binding.expose()))?,
            next: wish.next.as_deref().map(|next| next_page(Some(next)).to_owned()),
            loopback: wish.loopback,
            expires_at: now + LOGIN_LIFE,
        };
        if !self.store.begin_provider_login(&login, now).await? {
            return Err(Error::new(Code::Unavailable, "too many logins are on their way").retry_after(60));
        }
        Ok(Begun { url, binding })
    }

    /// Takes what the provider sent back.
    pub async fn finish_provider_login(
        &self,
        answer: ProviderAnswer,
        binding: Option<Secret>,
        origin: SessionOrigin,
    ) -> Result<Finished> {
        let outcome = self.judge_answer(answer, binding, origin).await;
        if outcome.is_err() {
            self.count("oidc", false);
        }
        outcome
    }

    async fn judge_answer(
        &self,
        answer: ProviderAnswer,
        binding: Option<Secret>,
        origin: SessionOrigin,
    ) -> Result<Finished> {
        let over = || refused("this login is over, or was not begun in this browser");
        let state = answer.state.as_deref().filter(|state| state.len() <= CODE_MAX).ok_or_else(over)?;
        let state = Secret::new(state);
        let sealed = self.keys.seal(&digest(state.expose()))?;
        // Taken whatever comes of it: a state counts once.
        let login = self.store.take_provider_login(&sealed, self.clock.now()).await?.ok_or_else(over)?;
        let binding = binding.ok_or_else(over)?;
        if !digests_equal(&login.binding, &self.keys.seal(&digest(binding.expose()))?) {
            return Err(over());
        }
        let proven = self.prove(&login, &answer, &state, &binding).await;
        match (login.loopback, proven) {
            (None, Err(fault)) => Err(fault),
            (None, Ok((user, sign_in))) => {
                let issued = self.open_sign_in(user, &sign_in, origin, login.next.is_some()).await?;
                Ok(match login.next {
                    Some(next) => Finished::Browser(issued, next),
                    None => Finished::Tokens(issued),
                })
            }
            // The program must not wait for nothing.
            (Some(loopback), Err(fault)) => Ok(Finished::Loopback(address(&loopback, ("error", fault.code.as_str())))),
            (Some(loopback), Ok((user, sign_in))) => {
                let code = self.login_code(&user, sign_in, &loopback).await?;
                Ok(Finished::Loopback(address(&loopback, ("code", code.expose()))))
            }
        }
    }

    async fn prove(
        &self,
        login: &ProviderLogin,
        answer: &ProviderAnswer,
        state: &Secret,
        binding: &Secret,
    ) -> Result<(User, SignIn)> {
        let provider = self.providers.find(Some(&login.provider))?;
        provider.check_answer_issuer(answer.issuer.as_deref()).await?;
        if answer.error.is_some() {
            return Err(refused("the identity provider refused the login"));
        }
        let code = answer.code.as_ref().filter(|code| (1..=CODE_MAX).contains(&code.expose().len()));
        let code = code.ok_or_else(|| refused("the identity provider sent no code"))?;
        let (token, text) =
            provider.exchange(code.expose(), &self.verifier(state, binding)?, &self.nonce(state)?).await?;
        let user = self.account_of(&provider.settings, &token).await?;
        let sign_in = self.sign_in(&provider.settings, &token, &text)?;
        Ok((user, sign_in))
    }

    /// Leaves a login for the program that waits for it: the browser carries a code, which is worth nothing without what
    /// the program holds.
    async fn login_code(&self, user: &User, sign_in: SignIn, loopback: &Loopback) -> Result<Secret> {
        let code = self.ids.token(RANDOM_BYTES);
        let now = self.clock.now();
        let stored = LoginCode {
            digest: self.keys.seal(&digest(code.expose()))?,
            challenge: loopback.challenge.clone(),
            user_id: user.id,
            sign_in,
            expires_at: now + CODE_LIFE,
        };
        self.store.insert_login_code(&stored, now).await?;
        Ok(code)
    }

    /// Gives the session of a login to the program that waited for it.
    pub async fn exchange_login_code(&self, code: &str, verifier: &str, origin: SessionOrigin) -> Result<Issued> {
        let over = || refused("this login is over, or was fetched before");
        let sealed = self.keys.seal(&digest(code))?;
        let stored = self.store.take_login_code(&sealed, self.clock.now()).await?.ok_or_else(over)?;
        if !digests_equal(&stored.challenge, &challenge(verifier)) {
            return Err(over());
        }
        let user = self.store.user(&UserRef::Id(stored.user_id)).await?.filter(|user| user.active).ok_or_else(over)?;
        self.open_sign_in(user, &stored.sign_in, origin, false).await
    }

    fn nonce(&self, state: &Secret) -> Result<String> {
        self.keys.seal(&digest(&format!("nonce {}", state.expose())))
    }

    fn verifier(&self, state: &Secret, binding: &Secret) -> Result<String> {
        self.keys.seal(&digest(&format!("verifier {} {}", state.expose(), binding.expose())))
    }

    /// Whether browsers reach the hub by TLS, as far as the settings and its providers were told.
    pub fn by_tls(&self) -> bool {
        self.options.by_tls || self.providers.all().first().is_some_and(|provider| provider.settings.by_tls())
    }

    /// The providers, for the list of ways to log in.
    pub fn providers(&self) -> &[std::sync::Arc<Provider>] {
        self.providers.all()
    }
}

fn check_loopback(loopback: &Loopback) -> Result<()> {
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let good = loopback.port >= 1024
        && (1..=LOOPBACK_STATE_MAX).contains(&loopback.state.len())
        && plain(&loopback.state)
        && loopback.challenge.len() == CHALLENGE_LEN
        && plain(&loopback.challenge);
    if good { Ok(()) } else { Err(Error::new(Code::BadRequest, "loopback_port, loopback_state or challenge is wrong")) }
}

/// Always this machine by number: a name could be somebody else's (RFC 8252 §8.3).
fn address(loopback: &Loopback, (name, value): (&str, &str)) -> String {
    format!("http://127.0.0.1:{}/callback?{name}={value}&state={}", loopback.port, loopback.state)
}
