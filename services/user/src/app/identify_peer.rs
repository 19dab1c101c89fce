use roadstead_contracts::identity::CredentialKind;
use roadstead_contracts::message::{Authenticated, IdentifyPeer};
use roadstead_contracts::names::Username;
use roadstead_contracts::{Code, Error, Result};

use super::App;
use crate::domain::{User, UserRef};

impl App {
    /// Who a queue peer stands for, signed for a cluster. The account must be listed in the settings, exist and be
    /// active: whoever asks cannot name just any account.
    pub async fn identify_peer(&self, request: &IdentifyPeer) -> Result<Authenticated> {
        let refused = || Error::new(Code::InvalidCredential, "the peer's account is not usable");
        let user = self.service_account(&request.account).await?.ok_or_else(refused)?;
        let principal = self.principal(&user, CredentialKind::QueuePeer(user.username.clone())).await?;
        let sign = |cluster| match &request.raise {
            None => self.sign_identity(&principal, cluster),
            Some(raise) => self.sign_raised(&principal, cluster, raise),
        };
        let assertion = request.cluster_id.map(sign).transpose()?;
        Ok(Authenticated { principal, expires_at: None, assertion })
    }

    /// The active account that stands for a queue peer.
    pub(super) async fn service_account(&self, account: &str) -> Result<Option<User>> {
        let Ok(name) = Username::parse(account) else { return Ok(None) };
        if !self.options.queue_peers.values().any(|listed| listed == account) {
            return Ok(None);
        }
        Ok(self.store.user(&UserRef::Name(name)).await?.filter(|user| user.active))
    }
}
