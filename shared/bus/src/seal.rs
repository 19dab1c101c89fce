//! The signature of a message: bound to where it goes, what it is, until when it counts and who answers.
//!
//! A message that is put on another queue, sent again after its deadline, given another reply queue or another body is
//! no longer signed. Within its deadline a message can be repeated: handlers of changes look its id up first.

use chrono::{DateTime, Utc};
use roadstead_auth::mesh::{MeshKey, SignedParts};

use crate::Message;
use crate::message::header;

/// Keeps these signatures from use at another door.
const CONTEXT: &str = "bus.v1";

/// Signs a message for its destination.
pub(crate) fn seal(key: &MeshKey, destination: &str, message: &mut Message) {
    let signature = with_parts(destination, message, |signed| key.sign(signed));
    message.headers.insert(header::SIGNATURE.to_owned(), signature);
}

/// Whether the message was signed for this destination.
pub(crate) fn is_sealed(key: &MeshKey, destination: &str, message: &Message) -> bool {
    message
        .header(header::SIGNATURE)
        .is_some_and(|signature| with_parts(destination, message, |signed| key.verify(signed, signature)))
}

fn with_parts<T>(destination: &str, message: &Message, then: impl FnOnce(&SignedParts<'_>) -> T) -> T {
    let text = |text: Option<&str>| text.unwrap_or_default().as_bytes().to_vec();
    then(&SignedParts {
        context: CONTEXT,
        parts: &[
            destination.as_bytes(),
            message.kind.as_bytes(),
            message.id.as_bytes(),
            &text(message.reply_to.as_deref()),
            &text(message.correlation_id.as_deref()),
            &text(message.header(header::DEADLINE)),
            &text(message.header(header::REPLICA)),
            &text(message.header(header::REQUEST)),
            message.service.as_bytes(),
            &message.body,
        ],
    })
}

/// Writes the absolute deadline.
pub(crate) fn set_deadline(message: &mut Message, deadline: DateTime<Utc>) {
    message.headers.insert(header::DEADLINE.to_owned(), deadline.timestamp_millis().to_string());
}

/// Reads the absolute deadline.
pub(crate) fn deadline(message: &Message) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_millis(message.header(header::DEADLINE)?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use roadstead_runtime::Secret;

    use super::*;

    fn sealed() -> (MeshKey, Message) {
        let key = MeshKey::new(&Secret::new("k".repeat(32))).unwrap();
        let mut message = Message {
            id: "id".to_owned(),
            kind: "kind.v1".to_owned(),
            reply_to: Some("replies".to_owned()),
            service: "cluster".to_owned(),
            body: Bytes::from_static(b"{}"),
            ..Message::default()
        };
        set_deadline(&mut message, DateTime::UNIX_EPOCH);
        seal(&key, "queue", &mut message);
        (key, message)
    }

    #[test]
    fn every_part_is_bound() {
        let (key, good) = sealed();
        assert!(is_sealed(&key, "queue", &good));
        assert!(!is_sealed(&key, "other", &good));
        let changes: [fn(&mut Message); 8] = [
            |message| message.id.push('x'),
            |message| message.kind.push('x'),
            |message| message.reply_to = Some("amq.other".to_owned()),
            |message| message.correlation_id = Some("x".to_owned()),
            |message| message.service.push('x'),
            |message| message.body = Bytes::from_static(b"[]"),
            |message| drop(message.headers.insert(header::DEADLINE.to_owned(), "9999999999999".to_owned())),
            |message| drop(message.headers.remove(header::SIGNATURE)),
        ];
        for change in changes {
            let mut changed = good.clone();
            change(&mut changed);
            assert!(!is_sealed(&key, "queue", &changed));
        }
    }

    proptest! {
        #[test]
        fn garbage_is_not_signed_and_does_not_panic(
            signature in ".{0,70}",
            deadline in ".{0,30}",
            texts in proptest::collection::vec(".{0,20}", 4),
            body in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let (key, _) = sealed();
            let mut message = Message {
                id: texts[0].clone(),
                kind: texts[1].clone(),
                reply_to: Some(texts[2].clone()),
                body: Bytes::from(body),
                ..Message::default()
            };
            message.headers.insert(header::SIGNATURE.to_owned(), signature);
            message.headers.insert(header::DEADLINE.to_owned(), deadline);
            prop_assert!(!is_sealed(&key, &texts[3], &message));
            let _ = super::deadline(&message);
        }
    }
}
