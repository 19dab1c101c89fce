//! Events that matter here: to the sessions of this replica, and to what a removed account owned.

use std::sync::Arc;

use roadstead_bus::Subscriber;
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::ids::{AgentId, TypedId as _, parse_hyphenated};

use crate::app::{App, forget_user};

/// Name of the queue on which removed accounts wait for one of the replicas.
const USERS: &str = "users";

/// Every replica hears that an agent was cut off; what it misses while the broker is away it looks up when it is back. One
/// replica takes away what a removed account owned; that waits for it.
pub(super) async fn subscribe(app: &Arc<App>) -> Result<(), roadstead_bus::Error> {
    let heard = Arc::clone(app);
    app.bus
        .subscribe(Subscriber::Own, &["agent.revoked"], move |event: Event| {
            let app = Arc::clone(&heard);
            async move {
                if let Fact::AgentRevoked { agent_id } = event.fact
                    && let Ok(id) = parse_hyphenated(&agent_id)
                {
                    app.sessions.revoke(AgentId::from_uuid(id));
                }
                Ok(())
            }
        })
        .await?;
    let owner = Arc::clone(app);
    app.bus
        .subscribe(Subscriber::Shared(USERS), &["user.deleted"], move |event: Event| {
            let app = Arc::clone(&owner);
            async move {
                match event.fact {
                    Fact::UserDeleted { user_id } => forget_user(&app, user_id).await,
                    _ => Ok(()),
                }
            }
        })
        .await
}
