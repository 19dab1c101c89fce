//! A way in for `fuzz/`: what is private here and reads bytes of strangers.

use crate::ws::fuzz_frames;

/// Reads bytes as what a WebSocket peer says, cut into pieces of `step` bytes; answers how long each message was, or nothing
/// when a rule was broken.
pub fn websocket(masked: bool, step: usize, bytes: &[u8]) -> Option<Vec<usize>> {
    fuzz_frames(masked, step, bytes)
}
