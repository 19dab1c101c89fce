//! A way in for `fuzz/`: what is private here and reads texts of a file.

use crate::{MasterKeys, Result};

/// The ring of a file with this text.
pub fn ring(text: &str) -> Result<MasterKeys> {
    crate::source::parse("the file", text)
}
