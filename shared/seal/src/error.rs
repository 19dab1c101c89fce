//! What can go wrong with a sealed value.

use roadstead_contracts::{Code, Error as Shown};

use crate::KeyVersion;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One variant for each thing a caller does differently. None of them holds a key or a plain text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No master key is set; none is made up.
    #[error("no master key is set: set ROADSTEAD_SEAL_MASTER_KEY (base64 of 32 bytes) or ROADSTEAD_SEAL_KEYRING_FILE")]
    NoKey,
    /// A master key cannot be used. Says where it came from.
    #[error("the master key from {origin} is not usable: {why}")]
    BadKey {
        /// Variable, file and line, or key of a KMS.
        origin: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file, or the KMS, did not give its keys.
    #[error("failed to read master keys from {origin}: {why}")]
    Source {
        /// The file's path, or the KMS's name.
        origin: String,
        /// The kind of fault.
        why: String,
    },
    /// The database was sealed with another key of that version.
    #[error("master key {0} is not the one with which this database was sealed")]
    WrongKey(KeyVersion),
    /// The database has values under a version that is not in the ring.
    #[error("master key {0} is needed by this database and is not there")]
    MissingKey(KeyVersion),
    /// It was changed, moved, or sealed by another hub.
    #[error("the sealed value does not open: it was changed, moved or sealed elsewhere")]
    Integrity,
    /// It is no sealed value at all.
    #[error("not a sealed value")]
    Malformed,
    /// Longer than [`crate::sealer::PLAIN_MAX`].
    #[error("the value is too long to be sealed")]
    TooLong,
    /// The cryptographic library refused; there is no randomness.
    #[error("the value could not be sealed")]
    Failed,
}

impl From<Error> for Shown {
    /// What a client sees. The cause ends here, so it is logged here.
    fn from(fault: Error) -> Self {
        tracing::error!("{fault}");
        match fault {
            Error::Integrity | Error::Malformed => Shown::of(Code::IntegrityError),
            Error::TooLong => Shown::of(Code::PayloadTooLarge),
            _ => Shown::of(Code::Internal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_the_kind_and_nothing_of_keys() {
        for (fault, code) in [
            (Error::Integrity, Code::IntegrityError),
            (Error::Malformed, Code::IntegrityError),
            (Error::TooLong, Code::PayloadTooLarge),
            (Error::WrongKey(KeyVersion(7)), Code::Internal),
            (Error::BadKey { origin: "canary".to_owned(), why: "canary" }, Code::Internal),
            (Error::Source { origin: "canary".to_owned(), why: "canary".to_owned() }, Code::Internal),
        ] {
            let shown = Shown::from(fault.clone());
            assert_eq!(shown.code, code, "{fault}");
            assert!(!shown.detail.contains("canary"), "{shown:?}");
        }
    }
}
