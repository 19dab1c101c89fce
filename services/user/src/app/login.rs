use std::net::IpAddr;

use roadstead_auth::password;
use roadstead_contracts::names::Username;
use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::Secret;

use super::{App, Issued, password_fault};
use crate::domain::{NewSession, SessionOrigin};

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
}

impl App {
    /// Logs in with a password. A wrong name, a wrong password and a switched-off account look alike and take alike.
    pub async fn login(&self, name: &str, password: Secret, from: LoginFrom) -> Result<Issued> {
        let LoginFrom { source, origin, device, code } = from;
        let source = source.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
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
        let known = found.as_ref().and_then(|(user, _)| self.known_device(user.id, device.as_ref()));
        let tried = self.begin_try(name.as_ref().map_or("", Username::as_str), source, known.as_deref()).await?;
        let stored = found.as_ref().and_then(|(_, hash)| hash.clone());
        let matches = self.hasher.verify(password.clone(), stored.clone()).await.map_err(password_fault)?;
        let user = found.map(|(user, _)| user).filter(|user| matches && user.active);
        let Some(user) = user else {
            self.failed_try(tried).await;
            self.count("password", false);
            return Err(Error::of(Code::InvalidLogin));
        };
        if let Err(refusal) = self.second_proof(&user, code.as_ref().map(Secret::expose)).await {
            self.count("password", false);
            return Err(refusal);
        }
        if let Some(old) = stored.filter(|hash| password::is_outdated(hash)) {
            // For the next time; this login does not depend on it.
            if let Ok(new) = self.hash(password).await {
                self.store.rehash_password(user.id, &old, &new).await?;
            }
        }
        let now = self.clock.now();
        let pair = self.fresh_pair(now)?;
        let session_id = self.ids.next();
        let session =
            NewSession { id: session_id, user_id: user.id, origin, created_at: now, pair: pair.stored.clone() };
        self.store.open_session(&session).await?;
        self.count("password", true);
        self.issue(pair, user, session_id, now)
    }
}
