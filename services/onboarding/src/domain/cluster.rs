//! A cluster of the registry.

use roadstead_contracts::ids::TypedId as _;
use roadstead_contracts::ids::{ClusterId, parse_hyphenated};
use roadstead_contracts::message::{Cluster, ClusterFacts, ClusterStatus, SeedCluster, SeedClusterDetails};

/// A cluster with what only its own service needs.
#[derive(Debug, Clone)]
pub(crate) struct ClusterRecord {
    /// As shown.
    pub cluster: Cluster,
    /// Number of the owner.
    pub owner_seq: i64,
    /// Fields of the seeds' clients.
    pub details: SeedClusterDetails,
}

impl From<ClusterRecord> for SeedCluster {
    fn from(record: ClusterRecord) -> Self {
        Self { cluster: record.cluster, owner_seq: record.owner_seq, details: record.details }
    }
}

/// How a caller names a cluster. Names never look like a number or an id, so there is one reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClusterRef {
    /// By id.
    Id(ClusterId),
    /// By its integer.
    Seq(i64),
    /// By name.
    Name(String),
}

impl ClusterRef {
    /// Reads a path parameter or an argument. `None`: no cluster can have it (reliability row R07).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Ok(id) = parse_hyphenated(text) {
            return Some(Self::Id(ClusterId::from_uuid(id)));
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().filter(|seq| *seq > 0).map(Self::Seq);
        }
        roadstead_contracts::names::is_dns_label(text).then(|| Self::Name(text.to_owned()))
    }
}

/// The state of a cluster, in MCKMT's words.
pub(crate) fn status_of(connected: bool, ever_connected: bool, facts: &ClusterFacts) -> ClusterStatus {
    match (connected, ever_connected) {
        (true, _) if facts.health.as_deref() == Some("unhealthy") => ClusterStatus::Error,
        (true, _) => ClusterStatus::Connected,
        (false, true) => ClusterStatus::Disconnected,
        (false, false) => ClusterStatus::Pending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_names_a_cluster_in_one_way() {
        let id = "0198c5b0-0000-7000-8000-000000000001";
        assert!(matches!(ClusterRef::parse(id), Some(ClusterRef::Id(found)) if found.to_string() == id));
        assert_eq!(ClusterRef::parse("42"), Some(ClusterRef::Seq(42)));
        assert_eq!(ClusterRef::parse("prod-1"), Some(ClusterRef::Name("prod-1".to_owned())));
        for odd in [
            "",
            "0",
            "-1",
            "99999999999999999999",
            "1e3!",
            "0x10 ",
            " 1",
            "%31",
            "a/b",
            "..",
            "Prod",
            &format!("{{{id}}}"),
        ] {
            assert_eq!(ClusterRef::parse(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn a_sick_cluster_is_an_error_only_while_connected() {
        let sick = ClusterFacts { health: Some("unhealthy".to_owned()), ..ClusterFacts::default() };
        assert_eq!(status_of(true, true, &sick), ClusterStatus::Error);
        assert_eq!(status_of(false, true, &sick), ClusterStatus::Disconnected);
        assert_eq!(status_of(false, false, &ClusterFacts::default()), ClusterStatus::Pending);
        assert_eq!(status_of(true, true, &ClusterFacts::default()), ClusterStatus::Connected);
    }
}
