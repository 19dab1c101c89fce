//! A login on a device without a browser: the person approves it at the provider (RFC 8628). The hub keeps nothing between
//! two questions; the device code is worth nothing without the hub's own secret at the provider.

use roadstead_contracts::{Code, Error, Result};
use roadstead_runtime::Secret;

use super::{App, Issued};
use crate::domain::SessionOrigin;
use crate::oidc::{CODE_MAX, DeviceStart, Polled, refused};

/// Random bytes of a verifier.
const VERIFIER_BYTES: usize = 32;

impl App {
    /// Begins a login.
    pub async fn begin_device_login(&self, provider: Option<&str>) -> Result<DeviceStart> {
        self.providers.find(provider)?.begin_device(&self.ids.token(VERIFIER_BYTES)).await
    }

    /// Asks whether it was approved; [`Code::AuthorizationPending`] until then.
    pub async fn poll_device_login(
        &self,
        provider: Option<&str>,
        device_code: &Secret,
        origin: SessionOrigin,
    ) -> Result<Issued> {
        if !(1..=CODE_MAX).contains(&device_code.expose().len()) {
            return Err(refused("the login was refused, or is over"));
        }
        let provider = self.providers.find(provider)?;
        match provider.poll_device(device_code).await? {
            Polled::Pending(seconds) => {
                Err(Error::new(Code::AuthorizationPending, "the login was not approved yet").retry_after(seconds))
            }
            Polled::Done(token, text) => {
                let user = self.account_of(&provider.settings, &token).await?;
                let sign_in = self.sign_in(&provider.settings, &token, &text)?;
                self.open_sign_in(user, &sign_in, origin, false).await
            }
        }
    }
}
