//! Commands whose outcome is their exit code.

/// A command ended otherwise than well, and said so itself: 1 = failed, 2 = used wrongly, 3 = cancelled or timed out.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{said}")]
pub struct Ended {
    /// Exit code.
    pub code: u8,
    /// What is still to be said; may be nothing.
    pub said: String,
}

impl Ended {
    /// With a code; everything was said.
    pub fn silently(code: u8) -> Self {
        Self { code, said: String::new() }
    }

    /// Used wrongly.
    pub fn usage(said: impl Into<String>) -> Self {
        Self { code: 2, said: said.into() }
    }
}
