//! Plain rules, no I/O.

pub(crate) mod manifest;
pub(crate) mod multipart;
