use roadstead_contracts::Result;
use roadstead_contracts::ids::UserId;
use roadstead_contracts::names::{Username, parse_email};

use super::App;

/// By what somebody names their registration.
#[derive(Debug, Default)]
pub struct Who {
    /// Its id.
    pub id: Option<String>,
    /// The name that was asked for.
    pub username: Option<String>,
    /// The address that was given.
    pub email: Option<String>,
}

impl Who {
    /// Whether it names nothing.
    pub fn is_empty(&self) -> bool {
        self.id.is_none() && self.username.is_none() && self.email.is_none()
    }
}

impl App {
    /// The registration that somebody asks after, when it waits. It is looked for in the same way whether it is there or not, and
    /// whoever asks is not told: it changes nothing, not even how long it waits.
    pub async fn waiting_registration(&self, who: &Who) -> Result<Option<UserId>> {
        let id = who.id.as_deref().and_then(|id| id.parse::<UserId>().ok());
        let name = who.username.as_deref().and_then(|name| Username::parse(name).ok());
        let email = who.email.as_deref().and_then(|email| parse_email(email).ok());
        let name = name.as_ref().map(Username::as_str);
        Ok(self.store.waiting_registration(id, name, email.as_deref(), self.clock.now()).await?)
    }
}
