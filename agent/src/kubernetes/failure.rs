//! What the API server's refusals mean for a caller.

use roadstead_contracts::{Code, Error};

/// A request to the API server that did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The cluster's own rules do not allow it to this person.
    #[error("{0}")]
    Forbidden(String),
    /// The agent may not act as the person.
    #[error("the agent may not impersonate: {0}")]
    MayNotImpersonate(String),
    /// The API server does not know the agent.
    #[error("the API server refused the agent's credentials")]
    Unauthorized,
    /// No such thing.
    #[error("not found")]
    NotFound,
    /// It is there already, or it changed meanwhile.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The page's place is too old.
    #[error("list expired")]
    Expired,
    /// The API server asks for patience.
    #[error("the API server is busy")]
    Busy {
        /// Seconds.
        retry_after: Option<u32>,
    },
    /// No connection.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
    /// An answer that is not the API's.
    #[error("the API server answered something unexpected: {0}")]
    Unexpected(String),
    /// The request could not be built.
    #[error("the request cannot be sent")]
    Request,
}

impl Failure {
    pub(super) fn judge(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let message = clean(&status.message);
                match status.code {
                    401 => Self::Unauthorized,
                    403 if message.contains("cannot impersonate") => Self::MayNotImpersonate(message),
                    403 => Self::Forbidden(message),
                    404 => Self::NotFound,
                    409 => Self::Conflict(message),
                    410 => Self::Expired,
                    429 | 503 => {
                        let details = status.details.as_ref();
                        Self::Busy { retry_after: details.map(|details| details.retry_after_seconds) }
                    }
                    code => Self::Unexpected(format!("{code} {message}")),
                }
            }
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Self::Unexpected("unreadable body".to_owned()),
            kube::Error::Service(_) | kube::Error::HyperError(_) => Self::Unreachable(chain(error)),
            other => Self::Unexpected(chain(other)),
        }
    }

    /// What the caller is told.
    pub fn to_error(&self) -> Error {
        match self {
            Self::Forbidden(message) => Error::new(Code::Forbidden, message.clone()),
            Self::NotFound => Error::of(Code::NotFound),
            Self::Busy { retry_after } => {
                let error = Error::new(Code::Unavailable, "the cluster's API server is busy");
                error.retry_after(retry_after.unwrap_or(1).clamp(1, 60))
            }
            Self::MayNotImpersonate(_) => {
                Error::new(Code::AgentError, "the cluster does not let the agent act as this user; run its pre-flight")
            }
            Self::Unauthorized => Error::new(Code::AgentError, "the cluster does not accept the agent's credentials"),
            Self::Unreachable(_) => Error::new(Code::AgentError, "the cluster's API server cannot be reached"),
            Self::Expired | Self::Conflict(_) | Self::Unexpected(_) | Self::Request => {
                Error::new(Code::AgentError, "the cluster's API server gave an unexpected answer")
            }
        }
    }
}

/// Longest message of the API server that goes on.
const MESSAGE_MAX: usize = 512;

fn clean(message: &str) -> String {
    message.chars().filter(|character| !character.is_control()).take(MESSAGE_MAX).collect()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    clean(&text)
}
