//! The queue doors. They are declared and read, so that the queues exist, are bounded and are watched from the first
//! start on; the messages come with the operations themselves. Until then a message of ours is answered `unavailable` by
//! the bus, and one without our signature goes to the dead letters.

use roadstead_bus::{Bus, Router, ServeOptions};
use roadstead_contracts::queue::{CLUSTER_CANCELLATION, CLUSTER_MANIFEST, Queue};

/// The queues that this service reads.
const DOORS: [Queue; 2] = [CLUSTER_MANIFEST, CLUSTER_CANCELLATION];

pub(crate) async fn open(bus: &Bus) -> roadstead_bus::Result<()> {
    for queue in DOORS {
        bus.serve(Router::new(queue), ServeOptions::default()).await?;
    }
    Ok(())
}
