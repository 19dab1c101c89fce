//! Values that the pinned messages share.

use std::collections::BTreeSet;

use roadstead_contracts::identity::{CredentialKind, Principal, Reach, Role};
use roadstead_contracts::ids::{ApiKeyId, TypedId, UserId};

pub fn id<T: TypedId>(number: u128) -> T {
    T::from_uuid(uuid::Uuid::from_u128(0x0198_c5b0_0000_7000_8000_0000_0000_0000 + number))
}

pub fn at(text: &str) -> chrono::DateTime<chrono::Utc> {
    text.parse().unwrap()
}

pub fn principal(roles: &[Role], reach: Reach) -> Principal {
    Principal {
        user_id: id::<UserId>(1),
        user_seq: 7,
        username: "ada".to_owned(),
        email: "ada@example.com".to_owned(),
        roles: roles.iter().copied().collect::<BTreeSet<_>>(),
        reach,
        credential: CredentialKind::ApiKey(id::<ApiKeyId>(3)),
        scope: None,
        permissions: None,
        rules: Vec::new(),
    }
}
