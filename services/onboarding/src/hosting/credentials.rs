//! Credentials at rest: sealed to their cluster's row.

use roadstead_agent::kubernetes::Connection;
use roadstead_contracts::ids::ClusterId;
use roadstead_contracts::{Code, Error, Result};
use roadstead_seal::{Sealed, Sealer};
use zeroize::Zeroizing;

/// The place that the sealed text is bound to.
const TABLE: &str = "connections";
const COLUMN: &str = "sealed_credentials";

/// Seals a connection for its row.
pub(crate) fn seal_connection(sealer: &Sealer, cluster: ClusterId, connection: &Connection) -> Result<String> {
    let plain = Zeroizing::new(serde_json::to_vec(connection).map_err(|_| Error::of(Code::Internal))?);
    Ok(sealer.seal(TABLE, COLUMN, cluster, &plain)?.as_str().to_owned())
}

/// Opens it.
pub(crate) fn unseal_connection(sealer: &Sealer, cluster: ClusterId, sealed: &str) -> Result<Connection> {
    let sealed = Sealed::parse(sealed)?;
    let plain = sealer.unseal(TABLE, COLUMN, cluster, &sealed)?;
    serde_json::from_slice(&plain).map_err(|_| Error::of(Code::IntegrityError))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use roadstead_contracts::ids::TypedId as _;
    use roadstead_contracts::message::{ConnectionSource, ConnectionTls, Sensitive};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn l04_credentials_open_in_their_own_row_only() {
        let sealer = Sealer::ephemeral("onboarding").unwrap();
        let source = ConnectionSource::Token {
            server: "https://10.0.0.1".to_owned(),
            token: Some(Sensitive("canary".to_owned())),
            tls: ConnectionTls::default(),
        };
        let (connection, _) = Connection::check(&source, DateTime::UNIX_EPOCH).unwrap();
        let (one, two) = (ClusterId::from_uuid(Uuid::from_u128(1)), ClusterId::from_uuid(Uuid::from_u128(2)));
        let sealed = seal_connection(&sealer, one, &connection).unwrap();
        assert!(!sealed.contains("canary"));
        assert_eq!(unseal_connection(&sealer, one, &sealed).unwrap().server, "https://10.0.0.1");
        assert_eq!(unseal_connection(&sealer, two, &sealed).unwrap_err().code, Code::IntegrityError);
    }
}
