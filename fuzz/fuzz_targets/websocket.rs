//! Any bytes from the other end of a WebSocket: no panic, no message beyond the limit, and however they are cut they say the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roadstead_tunnel::frame::MESSAGE_MAX;
use roadstead_tunnel::fuzz::websocket;

fuzz_target!(|data: &[u8]| {
    let Some(([first, step], bytes)) = data.split_first_chunk::<2>() else { return };
    let masked = first & 1 == 1;
    let whole = websocket(masked, bytes.len(), bytes);
    assert_eq!(whole, websocket(masked, usize::from(*step), bytes));
    assert!(whole.unwrap_or_default().iter().all(|length| *length <= MESSAGE_MAX));
});
