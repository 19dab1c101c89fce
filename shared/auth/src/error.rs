//! What can be wrong with a proof.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One variant for each thing a caller does differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not what it should be, or the signature is not right. Never says which: that would help a forger.
    #[error("the proof is malformed or its signature is not right")]
    Invalid,
    /// The key that signed it is not known here; fetching the key set again may help.
    #[error("the proof was signed with an unknown key")]
    UnknownKey,
    /// It was good and is over, or is not good yet.
    #[error("the proof is outside its time")]
    OutOfTime,
    /// A key or a secret cannot be used.
    #[error("the key is not usable: {0}")]
    BadKey(&'static str),
    /// As many passwords are being hashed, and wait to be, as the process takes.
    #[error("too many passwords are being checked")]
    Busy,
}
