//! Messages made by hand, as a stranger on the broker could. The signing is written out a second time: it is a contract
//! between versions of the mesh.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use roadstead_auth::mesh::{MeshKey, SignedParts};
use roadstead_bus::{Message, header};

pub fn message(id: &str, kind: &str, reply_to: Option<&str>, deadline: DateTime<Utc>, body: &[u8]) -> Message {
    let mut message = Message {
        id: id.to_owned(),
        kind: kind.to_owned(),
        reply_to: reply_to.map(str::to_owned),
        correlation_id: Some(id.to_owned()),
        service: "forger".to_owned(),
        body: Bytes::copy_from_slice(body),
        ..Message::default()
    };
    message.headers.insert(header::DEADLINE.to_owned(), deadline.timestamp_millis().to_string());
    message
}

pub fn sign(key: &MeshKey, destination: &str, mut message: Message) -> Message {
    let header = |name: &str| message.header(name).unwrap_or_default().to_owned();
    let (deadline, replica, request) = (header(header::DEADLINE), header(header::REPLICA), header(header::REQUEST));
    let parts: [&[u8]; 10] = [
        destination.as_bytes(),
        message.kind.as_bytes(),
        message.id.as_bytes(),
        message.reply_to.as_deref().unwrap_or_default().as_bytes(),
        message.correlation_id.as_deref().unwrap_or_default().as_bytes(),
        deadline.as_bytes(),
        replica.as_bytes(),
        request.as_bytes(),
        message.service.as_bytes(),
        &message.body,
    ];
    let signature = key.sign(&SignedParts { context: "bus.v1", parts: &parts });
    message.headers.insert(header::SIGNATURE.to_owned(), signature);
    message
}
