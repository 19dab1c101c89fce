use roadstead_contracts::Result;
use roadstead_contracts::message::{Page, PageRequest};
use roadstead_store::Window;

use super::App;
use crate::domain::User;

impl App {
    /// A page of accounts, newest first. Who may ask is the door's to say.
    pub async fn users(&self, page: &PageRequest) -> Result<Page<User>> {
        let window = Window::of(page)?;
        let (users, total) = self.store.users(&window).await?;
        Ok(window.page(users, total, |user| user.seq))
    }
}
