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
    /// Other managers own fields that an apply sets.
    #[error("{message}")]
    Owned {
        /// Who owns what.
        message: String,
        /// All of them are this agent's own earlier changes.
        ours: bool,
    },
    /// The API server does not take the object.
    #[error("{0}")]
    Invalid(String),
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
    pub(crate) fn judge(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let message = clean(&status.message);
                match status.code {
                    401 => Self::Unauthorized,
                    403 if message.contains("cannot impersonate") => Self::MayNotImpersonate(message),
                    403 => Self::Forbidden(message),
                    404 => Self::NotFound,
                    409 => owned(status).unwrap_or(Self::Conflict(message)),
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

    /// The same from an address that a caller named: what listens there, if it is no API server, is not told (row S05).
    pub(super) fn of_a_stranger(self) -> Self {
        match self {
            Self::Unreachable(_) | Self::Unexpected(_) => {
                Self::Unreachable("no API server is reached there".to_owned())
            }
            other => other,
        }
    }

    /// What the caller is told.
    pub fn to_error(&self) -> Error {
        match self {
            Self::Forbidden(message) => Error::new(Code::Forbidden, message.clone()),
            Self::NotFound => Error::of(Code::NotFound),
            Self::Owned { message, .. } => Error::new(Code::ApplyConflict, message.clone()),
            Self::Invalid(message) => Error::new(Code::Validation, message.clone()),
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

/// Fields of a conflict that are named.
const FIELDS_SHOWN: usize = 8;

/// Who owns the fields that an apply did not get.
fn owned(status: &kube::core::Status) -> Option<Failure> {
    let causes = &status.details.as_ref()?.causes;
    let conflicts: Vec<_> = causes.iter().filter(|cause| cause.reason == "FieldManagerConflict").collect();
    if conflicts.is_empty() {
        return None;
    }
    // The message is `conflict with "<manager>" using <version>`, perhaps with a sub-resource and a time.
    let manager = |message: &str| message.split('"').nth(1).unwrap_or(message).to_owned();
    let ours = conflicts.iter().all(|cause| manager(&cause.message) == roadstead_contracts::operation::FIELD_MANAGER);
    let mut named: Vec<String> = conflicts
        .iter()
        .take(FIELDS_SHOWN)
        .map(|cause| format!("{} ({})", cause.field, manager(&cause.message)))
        .collect();
    if conflicts.len() > FIELDS_SHOWN {
        named.push(format!("{} more", conflicts.len() - FIELDS_SHOWN));
    }
    let message = clean(&format!("other managers own fields that the manifest sets: {}", named.join(", ")));
    Some(Failure::Owned { message, ours })
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
