//! What can go wrong with a database, by what a caller would do about it.

use roadstead_contracts::{Code, Error as Shown};
use roadstead_runtime::client_tls::explain;
use sqlx::error::ErrorKind;

/// Result of a store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Seconds after which a repeat may find the database back.
const RETRY_AFTER: u32 = 2;

/// Why a store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database is away, full, read-only, busy or too slow. Nothing is known to be done; try again later.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// Whoever answers at the database's address cannot be trusted, or speaks no TLS.
    #[error("no TLS with the database: {0}")]
    Untrusted(&'static str),
    /// A unique rule is broken.
    #[error("unique rule {constraint} is broken")]
    Conflict {
        /// `<table>_<columns>_key` on both databases (primary keys: `<table>_pkey` on PostgreSQL,
        /// `<table>_<column>_key` on SQLite).
        constraint: String,
    },
    /// A row that is referred to is not there, or is still referred to.
    #[error("a reference between rows is broken")]
    Reference,
    /// What was stored cannot be read, or is not what this build knows.
    #[error("stored data cannot be read: {0}")]
    Corrupt(String),
    /// A record is longer than one may be.
    #[error("a record of {0} bytes is longer than one may be")]
    TooLong(usize),
    /// The schema and this build do not go together.
    #[error("{0}")]
    Schema(String),
    /// The database was sealed with another master key than the process has.
    #[error("{0}")]
    Sealed(String),
    /// A fault of the program.
    #[error("the database refused a statement")]
    Other(#[source] sqlx::Error),
}

impl Error {
    /// Whether this is the breach of the unique rule with that name.
    pub fn is_conflict(&self, name: &str) -> bool {
        matches!(self, Self::Conflict { constraint } if constraint == name)
    }
}

impl From<sqlx::Error> for Error {
    fn from(fault: sqlx::Error) -> Self {
        use sqlx::Error as Fault;
        match &fault {
            Fault::Io(inner) if explain(&inner.to_string()).is_some() => untrusted(&inner.to_string()),
            Fault::Tls(inner) => untrusted(&inner.to_string()),
            Fault::Io(_) | Fault::PoolTimedOut | Fault::PoolClosed | Fault::WorkerCrashed | Fault::BeginFailed => {
                Self::Unavailable(fault)
            }
            Fault::ColumnDecode { .. } | Fault::Decode(_) => Self::Corrupt(fault.to_string()),
            Fault::Database(inner) => match inner.kind() {
                ErrorKind::UniqueViolation => Self::Conflict {
                    constraint: inner.constraint().map_or_else(|| sqlite_constraint(inner.message()), str::to_owned),
                },
                ErrorKind::ForeignKeyViolation => Self::Reference,
                _ => match inner.code().as_deref().map(class) {
                    Some(Class::Away) => Self::Unavailable(fault),
                    Some(Class::Damaged) => Self::Corrupt(inner.message().to_owned()),
                    _ => Self::Other(fault),
                },
            },
            _ => Self::Other(fault),
        }
    }
}

fn untrusted(text: &str) -> Error {
    Error::Untrusted(explain(text).unwrap_or("the handshake failed"))
}

enum Class {
    Away,
    Damaged,
    Other,
}

/// Sorts a code: five characters are PostgreSQL's (appendix A of its manual), a number is SQLite's (low byte = kind).
fn class(code: &str) -> Class {
    // SQLite's codes have at most four digits.
    if code.len() == 5 {
        return match code {
            // 08 connection, 53 resources (disk full, too many connections), 57P shutdown, 58 system; rolled back by
            // conflict (40), lock not free, statement time-out, read-only: all "not now".
            _ if ["08", "53", "58", "40"].iter().any(|class| code.starts_with(class)) => Class::Away,
            "57P01" | "57P02" | "57P03" | "57P05" | "55P03" | "57014" | "25006" => Class::Away,
            "XX001" | "XX002" => Class::Damaged,
            _ => Class::Other,
        };
    }
    match code.parse::<u32>().map(|code| code & 0xff) {
        // BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL
        Ok(5 | 6 | 7 | 8 | 9 | 10 | 13 | 14 | 15) => Class::Away,
        // CORRUPT, NOTADB
        Ok(11 | 26) => Class::Damaged,
        _ => Class::Other,
    }
}

/// SQLite says `UNIQUE constraint failed: clusters.owner, clusters.name`; PostgreSQL's default name for the same rule is
/// `clusters_owner_name_key`.
fn sqlite_constraint(message: &str) -> String {
    let Some((_, columns)) = message.split_once("failed: ") else { return "unknown".to_owned() };
    let mut name = String::new();
    for column in columns.split(", ") {
        let (table, column) = column.split_once('.').unwrap_or(("", column));
        if name.is_empty() {
            name.push_str(table);
        }
        name.push('_');
        name.push_str(column);
    }
    name + "_key"
}

impl From<Error> for Shown {
    /// What a client sees. The cause ends here, so it is logged here.
    fn from(fault: Error) -> Self {
        match &fault {
            Error::Unavailable(cause) => {
                tracing::warn!("the database is not available: {cause}");
                Shown::of(Code::StorageUnavailable).retry_after(RETRY_AFTER)
            }
            Error::Untrusted(_) => {
                tracing::error!("{fault}");
                Shown::of(Code::StorageUnavailable).retry_after(RETRY_AFTER)
            }
            Error::Conflict { .. } => Shown::of(Code::Conflict),
            Error::Reference => Shown::new(Code::Conflict, "what it refers to is gone or still in use"),
            Error::Corrupt(_) | Error::TooLong(_) | Error::Schema(_) | Error::Sealed(_) => {
                tracing::error!("{fault}");
                Shown::of(Code::Internal)
            }
            Error::Other(cause) => {
                tracing::error!("the database refused a statement: {cause}");
                Shown::of(Code::Internal)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraint_names_are_the_same_on_both() {
        assert_eq!(
            sqlite_constraint("UNIQUE constraint failed: clusters.owner, clusters.name"),
            "clusters_owner_name_key"
        );
        assert_eq!(sqlite_constraint("UNIQUE constraint failed: users.email"), "users_email_key");
    }

    #[test]
    fn not_now_and_damaged_are_told_apart() {
        for code in ["08006", "53100", "57P01", "40001", "5", "261", "13"] {
            assert!(matches!(class(code), Class::Away), "{code}");
        }
        for code in ["11", "26", "XX001"] {
            assert!(matches!(class(code), Class::Damaged), "{code}");
        }
        for code in ["42601", "1", "23514"] {
            assert!(matches!(class(code), Class::Other), "{code}");
        }
    }
}
