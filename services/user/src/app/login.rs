use std::net::IpAddr;

use roadstead_auth::password;
use roadstead_contracts::names::Username;
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::Secret;

use super::{App, Issued, password_fault};
use crate::domain::{NewSession, SessionOrigin, User};

/// Where a login comes from, and what it brings beside the password.
#[derive(Debug, Default)]
pub struct LoginFrom {
    /// Address of the client.
    pub source: Option<IpAddr>,
    /// What is kept with the session.
    pub origin: SessionOrigin,
    /// The mark of a device that logged in before.
    pub device: Option<Secret>,
    /// A code of the authenticator app, or a recovery code.
    pub code: Option<Secret>,
    /// Whether the session goes into a browser's cookie.
    pub browser: bool,
}

impl App {
    /// Logs in with a password. A wrong name, a wrong password and a switched-off account look alike and take alike.
    pub async fn login(&self, name: &str, password: Secret, from: LoginFrom) -> Result<Issued> {
        let (user, stored) = self.prove_login(name, &password, &from).await?;
        if let Err(refusal) = self.second_proof(&user, from.code.as_ref().map(Secret::expose)).await {
            self.count("password", false);
            return Err(refusal);
        }
        if let Some(old) = stored.filter(|hash| password::is_outdated(hash)) {
            // For the next time; this login does not depend on it.
            if let Ok(new) = self.hash(password).await {
                self.store.rehash_password(user.id, &old, &new).await?;
            }
        }
        let issued = self.open_login(user, from.origin, from.browser).await?;
        self.count("password", true);
        Ok(issued)
    }

    /// Checks name and password; answers the account and the hash that is stored.
    pub(super) async fn prove_login(
        &self,
        name: &str,
        password: &Secret,
        from: &LoginFrom,
    ) -> Result<(User, Option<String>)> {
        let source = from.source.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        if !self.options.password_login {
            return Err(Error::new(Code::Forbidden, "password login is switched off on this hub"));
        }
        // Refused before any work: hashing a megabyte is what the sender wants (row A13).
        if password.expose().len() > password::PASSWORD_MAX {
            return Err(Error::field(&["body", "password"], "value_error", "password is too long"));
        }
        let name = Username::parse(name).ok();
        let found = match &name {
            Some(name) => self.store.user_for_login(name.as_str()).await?,
            None => None,
        };
        let known = found.as_ref().and_then(|(user, _)| self.known_device(user.id, from.device.as_ref()));
        let tried = self.begin_try(name.as_ref().map_or("", Username::as_str), source, known.as_deref()).await?;
        let stored = found.as_ref().and_then(|(_, hash)| hash.clone());
        let matches = self.hasher.verify(password.clone(), stored.clone()).await.map_err(password_fault)?;
        if let Some(user) = found.map(|(user, _)| user).filter(|user| matches && user.active) {
            return Ok((user, stored));
        }
        self.failed_try(tried).await;
        self.count("password", false);
        Err(Error::of(Code::InvalidLogin))
    }

    /// Opens the session of a login. A browser's access token lives as long as the session, as after single sign-on.
    pub(super) async fn open_login(&self, user: User, origin: SessionOrigin, browser: bool) -> Result<Issued> {
        let now = self.clock.now();
        let pair = self.fresh_pair(now)?;
        let session_id = self.ids.next();
        let session =
            NewSession { id: session_id, user_id: user.id, origin, created_at: now, pair: pair.stored.clone() };
        self.store.open_session(&session).await?;
        let lifetime = if browser { self.options.refresh_lifetime } else { self.options.access_lifetime };
        self.issue_for(pair, user, session_id, now, lifetime)
    }
}
