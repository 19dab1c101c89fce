//! What can go wrong between a service and the broker.

use roadstead_contracts::Code;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One variant for each thing a caller does differently.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The broker is away, or was lost before it confirmed: treat the message as not sent.
    #[error("the message broker is not connected")]
    Disconnected,
    /// No queue takes the message: the service that reads it has never started.
    #[error("no queue takes messages for {0}")]
    Unroutable(String),
    /// The broker refused the message (its queue is full): treat it as not sent.
    #[error("the message broker refused a message for {0}")]
    Refused(String),
    /// The message is larger than [`crate::BODY_MAX`].
    #[error("a message of {0} bytes is larger than the bus takes")]
    TooLarge(usize),
    /// As many requests are under way as the process takes.
    #[error("too many requests wait for answers")]
    Busy,
    /// A message cannot be written as JSON.
    #[error("message {0} cannot be encoded")]
    Encode(&'static str),
    /// A handler was given for a message of another queue.
    #[error("message {kind} does not belong on queue {queue}")]
    WrongQueue {
        /// The message.
        kind: &'static str,
        /// The router's queue.
        queue: String,
    },
    /// The broker's address cannot be used. Does not repeat it: it holds the password.
    #[error("the broker's address is not usable: {0}")]
    Address(String),
}

impl From<Error> for roadstead_contracts::Error {
    fn from(error: Error) -> Self {
        let code = match error {
            Error::Disconnected | Error::Unroutable(_) | Error::Refused(_) | Error::Busy => Code::Unavailable,
            Error::TooLarge(_) => Code::PayloadTooLarge,
            Error::Encode(_) | Error::WrongQueue { .. } | Error::Address(_) => Code::Internal,
        };
        Self::of(code)
    }
}
