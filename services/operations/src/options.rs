//! The settings that this service reads.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use roadstead_runtime::config::Settings;

/// How the service runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address of the health listener.
    pub host: IpAddr,
    /// Its port; 0 = any free one.
    pub port: u16,
    /// Longest time for a request's head to arrive.
    pub read_timeout: Duration,
    /// How long requests may go on after a stop.
    pub grace: Duration,
    /// Whether `/metrics` is shown.
    pub metrics: bool,
    /// Operations that this process carries at once.
    pub at_once: u32,
    /// Operations at once in one cluster and namespace.
    pub per_namespace: u32,
    /// Deadline of an operation whose caller gives none.
    pub deadline: Duration,
    /// How long an ended operation is kept at least.
    pub retention: Duration,
    /// How long after its end it is deleted by itself; none = never.
    pub delete_after: Option<Duration>,
    /// Broker users of peers of the seeds, and the accounts that they stand for.
    pub queue_peers: BTreeMap<String, String>,
}

impl Options {
    /// From the settings of the process.
    pub fn of(settings: &Settings) -> Self {
        let operations = &settings.operations;
        Self {
            host: operations.host,
            port: operations.port,
            read_timeout: settings.server.read_timeout,
            grace: settings.server.shutdown_grace,
            metrics: settings.metrics.at_doors(),
            at_once: operations.at_once.max(1),
            per_namespace: operations.per_namespace.max(1),
            deadline: operations.deadline,
            retention: operations.retention,
            delete_after: operations.delete_after,
            queue_peers: settings.compat.queue_peers.clone(),
        }
    }

    /// Refuses settings that contradict each other.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.delete_after.is_none_or(|after| after >= self.retention),
            "operations.delete_after must not be shorter than operations.retention, for which ended operations are kept"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use roadstead_runtime::config::{MapEnv, ServiceRole};

    use super::*;

    #[test]
    fn nothing_is_deleted_before_its_retention_is_over() {
        let check = |retention: &str, after: &str| {
            let env = MapEnv::new([
                ("ROADSTEAD_OPERATIONS_RETENTION", retention),
                ("ROADSTEAD_OPERATIONS_DELETE_AFTER", after),
                ("ROADSTEAD_SEAL_MASTER_KEY", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
            ]);
            Options::of(&Settings::load(ServiceRole::Up, None, &env).unwrap()).check()
        };
        for (retention, after) in [("30d", ""), ("30d", "30d"), ("30d", "31d"), ("0s", "1s")] {
            check(retention, after).unwrap();
        }
        let refused = check("30d", "719h").unwrap_err().to_string();
        assert!(
            refused.starts_with("operations.delete_after must not be shorter than operations.retention"),
            "{refused}"
        );
    }
}
