//! Between [`Message`] and AMQP's properties.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};

use crate::Message;

/// AMQP's "persistent" (0-9-1 §1.2.1, basic.delivery-mode).
const PERSISTENT: u8 = 2;
/// AMQP's "transient".
const TRANSIENT: u8 = 1;
/// Longest short string (0-9-1 §4.2.5.3).
const SHORT_MAX: usize = 255;

/// A short string, cut where AMQP cuts it: the types' own conversion panics. Names of ours are shorter; what is cut fails its
/// signature.
pub(super) fn short(text: &str) -> ShortString {
    let mut end = text.len().min(SHORT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    ShortString::try_new(&text[..end]).unwrap_or_default()
}

/// The properties of a message.
pub(super) fn properties(message: &Message) -> BasicProperties {
    let mut properties = BasicProperties::default()
        .with_content_type(short("application/json"))
        .with_delivery_mode(if message.persistent { PERSISTENT } else { TRANSIENT });
    if !message.headers.is_empty() {
        let headers: BTreeMap<ShortString, AMQPValue> = message
            .headers
            .iter()
            .map(|(name, text)| (short(name), AMQPValue::LongString(LongString::from(text.as_bytes()))))
            .collect();
        properties = properties.with_headers(FieldTable::from(headers));
    }
    if !message.id.is_empty() {
        properties = properties.with_message_id(short(&message.id));
    }
    if !message.kind.is_empty() {
        properties = properties.with_type(short(&message.kind));
    }
    if !message.service.is_empty() {
        properties = properties.with_app_id(short(&message.service));
    }
    if let Some(name) = &message.reply_to {
        properties = properties.with_reply_to(short(name));
    }
    if let Some(id) = &message.correlation_id {
        properties = properties.with_correlation_id(short(id));
    }
    if let Some(user) = &message.user_id {
        properties = properties.with_user_id(short(user));
    }
    if let Some(life) = message.expires_in {
        properties = properties.with_expiration(short(&life.as_millis().to_string()));
    }
    properties
}

/// The message with these properties.
pub(super) fn decode(properties: &BasicProperties, body: Bytes) -> Message {
    let text = |field: &Option<ShortString>| field.as_ref().map(ToString::to_string);
    let mut headers = BTreeMap::new();
    if let Some(table) = properties.headers() {
        for (name, value) in table.inner() {
            // Other kinds of value are the broker's own (x-death): the first death's reason is a text besides.
            if let Some(text) = value.as_long_string().and_then(|text| std::str::from_utf8(text.as_bytes()).ok()) {
                headers.insert(name.to_string(), text.to_owned());
            }
        }
    }
    Message {
        id: text(properties.message_id()).unwrap_or_default(),
        kind: text(properties.kind()).unwrap_or_default(),
        reply_to: text(properties.reply_to()),
        correlation_id: text(properties.correlation_id()),
        service: text(properties.app_id()).unwrap_or_default(),
        user_id: text(properties.user_id()),
        expires_in: text(properties.expiration()).and_then(|life| life.parse().ok()).map(Duration::from_millis),
        persistent: *properties.delivery_mode() == Some(PERSISTENT),
        headers,
        body,
    }
}

/// How often the message has been delivered: quorum queues count, classic ones say only "not the first time".
pub(super) fn deliveries(properties: &BasicProperties, redelivered: bool) -> u32 {
    let counted = properties.headers().as_ref().and_then(|table| table.inner().get("x-delivery-count")).and_then(count);
    let earlier = counted.unwrap_or(0).max(u32::from(redelivered));
    earlier.saturating_add(1)
}

fn count(value: &AMQPValue) -> Option<u32> {
    let number = value
        .as_long_long_int()
        .or_else(|| value.as_long_int().map(i64::from))
        .or_else(|| value.as_long_uint().map(i64::from))
        .or_else(|| value.as_short_int().map(i64::from))
        .or_else(|| value.as_short_short_uint().map(i64::from))?;
    u32::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn properties_of_any_message_do_not_panic(text in ".{0,400}", number in any::<i64>()) {
            let message = Message {
                id: text.clone(),
                kind: text.clone(),
                reply_to: Some(text.clone()),
                headers: BTreeMap::from([(text.clone(), text.clone())]),
                ..Message::default()
            };
            let properties = properties(&message);
            let _ = decode(&properties, Bytes::new());
            let mut table = FieldTable::default();
            table.insert(short("x-delivery-count"), AMQPValue::LongLongInt(number));
            prop_assert!(deliveries(&properties.with_headers(table), false) >= 1);
        }
    }

    #[test]
    fn messages_come_back_as_they_went() {
        let message = Message {
            id: "id".to_owned(),
            kind: "kind.v1".to_owned(),
            reply_to: Some("replies".to_owned()),
            correlation_id: Some("other".to_owned()),
            service: "cluster".to_owned(),
            user_id: Some("peer".to_owned()),
            expires_in: Some(Duration::from_millis(1500)),
            persistent: true,
            headers: BTreeMap::from([("x-a".to_owned(), "ü".to_owned())]),
            body: Bytes::from_static(b"{}"),
        };
        assert_eq!(decode(&properties(&message), message.body.clone()), message);
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        let long = "ü".repeat(300);
        assert_eq!(short(&long).as_str().len(), 254);
    }
}
