//! Events that matter to the sessions of this replica.

use std::sync::Arc;

use roadstead_bus::Subscriber;
use roadstead_contracts::event::{Event, Fact};
use roadstead_contracts::ids::{AgentId, TypedId as _, parse_hyphenated};

use crate::app::App;

/// Every replica hears that an agent was cut off; what it misses while the broker is away it looks up when it is back.
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
        .await
}
