//! What the broker's errors mean, in sentences for `/readyz`.

use lapin::ErrorKind;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};

/// One sentence about a failed connection. No address, no password.
pub(super) fn connection_sentence(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(fault) => match fault.kind() {
            AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => {
                "the message broker does not let this user into its virtual host".to_owned()
            }
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                "the message broker refuses the user name or password, or a right".to_owned()
            }
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => {
                "the exchange of events exists on the message broker with other arguments".to_owned()
            }
            _ => "the message broker closed the connection".to_owned(),
        },
        ErrorKind::MissingHeartbeatError => "the message broker fell silent".to_owned(),
        ErrorKind::IOError(fault) => match roadstead_runtime::client_tls::explain(&fault.to_string()) {
            Some(why) => format!("no TLS with the message broker: {why}"),
            None => "the message broker is not reachable".to_owned(),
        },
        _ => "the message broker is not reachable".to_owned(),
    }
}

/// One sentence about a queue that cannot be declared or read.
pub(super) fn queue_sentence(error: &lapin::Error, queue: &str) -> String {
    match soft(error) {
        Some(AMQPSoftError::PRECONDITIONFAILED) => format!("queue {queue} exists with other arguments"),
        Some(AMQPSoftError::ACCESSREFUSED) => format!("the message broker refuses access to queue {queue}"),
        Some(AMQPSoftError::RESOURCELOCKED) => format!("queue {queue} belongs to another connection"),
        Some(AMQPSoftError::NOTFOUND) => format!("queue {queue} was deleted"),
        _ => format!("queue {queue} is not being read"),
    }
}

/// Whether what was named does not exist.
pub(super) fn is_missing(error: &lapin::Error) -> bool {
    matches!(soft(error), Some(AMQPSoftError::NOTFOUND))
}

/// An error of one operation on a queue.
pub(super) fn refused(error: &lapin::Error, queue: &str) -> crate::Error {
    if soft(error).is_some() { crate::Error::Refused(queue.to_owned()) } else { crate::Error::Disconnected }
}

fn soft(error: &lapin::Error) -> Option<AMQPSoftError> {
    match error.kind() {
        ErrorKind::ProtocolError(fault) => match fault.kind() {
            AMQPErrorKind::Soft(soft) => Some(soft.clone()),
            AMQPErrorKind::Hard(_) => None,
        },
        _ => None,
    }
}
