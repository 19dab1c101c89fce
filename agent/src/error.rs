//! What can go wrong, one variant for each thing the agent does differently.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the agent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster's API cannot be reached as configured.
    #[error("failed to use the cluster's API: {0}")]
    Cluster(String),
    /// The way to the hub is broken at a known step.
    #[error(transparent)]
    Net(#[from] crate::net::NetError),
    /// The hub refused the agent.
    #[error("hub refused: {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Code of `contracts::error`, when the hub gave one.
        code: Option<roadstead_contracts::Code>,
        /// One sentence.
        detail: String,
        /// When to come back, when the hub said so.
        retry_after: Option<std::time::Duration>,
    },
    /// The hub answered something that is not its protocol.
    #[error("hub answered something unexpected: {0}")]
    Protocol(String),
    /// The agent's key or enrolment cannot be read or written.
    #[error("failed to keep the agent's state: {0}")]
    State(String),
    /// A key or signature is not usable.
    #[error("failed to use the agent's key")]
    Key(#[from] roadstead_auth::Error),
    /// Something about the command line or settings.
    #[error("{0}")]
    Settings(String),
}
