//! The codec takes any bytes, and what it took it gives back byte for byte.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use roadstead_tunnel::frame::Frame;

fuzz_target!(|data: &[u8]| {
    let mut rest = Bytes::copy_from_slice(data);
    let mut again = BytesMut::new();
    while let Some(Ok(frame)) = Frame::decode(&mut rest) {
        let before = again.len();
        frame.encode(&mut again);
        assert_eq!(again.len() - before, frame.encoded_len());
        assert_eq!(again, data[..again.len()]);
    }
});
