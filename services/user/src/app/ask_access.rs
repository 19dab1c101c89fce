use chrono::TimeDelta;
use roadstead_contracts::identity::{Action, Principal};
use roadstead_contracts::ids::AccessRequestId;
use roadstead_contracts::message::{Page, PageRequest};
use roadstead_contracts::{Code, Error, Result};
use roadstead_store::Window;

use super::App;
use crate::domain::{AccessRequest, AccessState, NewAccessRequest, OPEN_MAX, Wanted};
use crate::store::AccessFilter;

impl App {
    /// Asks for more rights for a while.
    pub async fn ask_access(&self, by: &Principal, wanted: Wanted) -> Result<AccessRequest> {
        let wanted = wanted.checked(self.options.access.seconds_max())?;
        let (id, now): (AccessRequestId, _) = (self.ids.next(), self.clock.now());
        // What could not become a rule is said now, not to whoever approves it.
        wanted.check_rule(id, self.ids.next(), &by.username, now)?;
        let lifetime = TimeDelta::from_std(self.options.access.request_lifetime).unwrap_or(TimeDelta::days(1));
        let new = NewAccessRequest {
            id,
            user_id: by.user_id,
            username: by.username.clone(),
            wanted,
            created_at: now,
            lapses_at: now + lifetime,
        };
        let notice = self.notice_of_question(&new);
        let stored = self.store.insert_access_request(&new, notice.as_ref()).await?;
        let full = || Error::new(Code::Conflict, format!("{OPEN_MAX} requests of yours wait for a decision already"));
        stored.ok_or_else(full)
    }

    /// A request: one's own, or any for whoever decides on them.
    pub async fn visible_access(&self, by: &Principal, which: &str) -> Result<AccessRequest> {
        let found = match which.parse::<AccessRequestId>() {
            Ok(id) => self.store.access_request(id).await?,
            Err(_) => None,
        };
        let visible = found.filter(|request| request.user_id == by.user_id || self.decides_on_access(by));
        visible.ok_or_else(no_such_request)
    }

    /// A page of them, newest first.
    pub async fn list_access(
        &self,
        by: &Principal,
        state: Option<AccessState>,
        mine: bool,
        page: &PageRequest,
    ) -> Result<Page<AccessRequest>> {
        let own = mine || !self.decides_on_access(by);
        let filter =
            AccessFilter { user: own.then_some(by.user_id), state: state.map(|state| (state, self.clock.now())) };
        let window = Window::of(page)?;
        let (requests, total) = self.store.access_requests(&window, &filter).await?;
        Ok(window.page(requests, total, |request| request.seq))
    }

    /// Whether somebody decides on what others ask for: by its role, or by a rule that names it, its role or its group. A
    /// rule that is for some clusters only does not count: what is asked for may be elsewhere.
    fn decides_on_access(&self, by: &Principal) -> bool {
        self.permits(by, Action::AccessApprove)
    }
}

pub(super) fn no_such_request() -> Error {
    Error::not_found("Access request not found")
}

/// Why nothing is done about a request that is no longer what it was.
pub(super) fn not_any_more(request: &AccessRequest, now: chrono::DateTime<chrono::Utc>) -> Error {
    let words = match request.state_at(now) {
        AccessState::Pending => "nobody has decided on the request yet",
        AccessState::Approved => "the request is approved",
        AccessState::Denied => "the request is denied",
        AccessState::Withdrawn => "the request was withdrawn",
        AccessState::Ended => "what was given is over",
        AccessState::Lapsed => "nobody decided on the request in time",
    };
    Error::new(Code::Conflict, words)
}
