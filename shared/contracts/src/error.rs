//! The one table of error codes, and the error that services hand to each other and to clients.
//!
//! A code never changes its meaning; each has a page `docs/errors/<code>.md` (checked by `cargo xtask drift`).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Result with the error a client may see.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $status:literal $code:literal $title:literal;)*) => {
        /// A stable error code. The doc comment says when it is used.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $code)] $variant,)*
        }

        impl Code {
            /// Every code, in table order.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The code as clients see it.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $code,)* }
            }

            /// The HTTP status that goes with the code. [`Code::Validation`] is 400 under `/api/v1` and 422 elsewhere;
            /// the doors do that.
            pub fn status(self) -> u16 {
                match self { $(Code::$variant => $status,)* }
            }

            /// Short human title, the same for every occurrence (RFC 9457 `title`).
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }
        }
    };
}

codes! {
    /// The body is not the JSON it should be.
    BadJson = 400 "bad_json" "Malformed JSON";
    /// The request line, a header or the path cannot be accepted.
    BadRequest = 400 "bad_request" "Bad request";
    /// One or more fields are wrong; `errors` names them.
    Validation = 400 "validation_failed" "Validation failed";
    /// No credential was sent.
    Unauthenticated = 401 "unauthenticated" "Not authenticated";
    /// A credential was sent and is not good (malformed, unknown, expired, revoked).
    InvalidCredential = 401 "invalid_credential" "Invalid credential";
    /// User name or password is wrong.
    InvalidLogin = 401 "invalid_login" "Incorrect username or password";
    /// A refresh token was used a second time; its session has been revoked.
    TokenReuse = 401 "token_reuse" "Refresh token used twice";
    /// A login through an identity provider did not hold: its state, its code or its token.
    LoginRefused = 401 "login_refused" "Login refused";
    /// The password was right and a second factor is asked for.
    SecondFactorRequired = 401 "second_factor_required" "Second factor required";
    /// Somebody is still to approve a login on another device; ask again later.
    AuthorizationPending = 400 "authorization_pending" "Authorization pending";
    /// The identity provider knows the person; no account here may be used for it.
    AccountNotLinked = 403 "account_not_linked" "Account not linked";
    /// A change that a browser sends with a cookie came from another site.
    CrossSite = 403 "cross_site" "Cross-site request refused";
    /// The API key may not be used from this address.
    SourceNotAllowed = 403 "source_not_allowed" "Source not allowed";
    /// The caller is known and may not do this.
    Forbidden = 403 "forbidden" "Insufficient permissions";
    /// Giving away more than one has.
    Escalation = 403 "escalation" "Escalation refused";
    /// Registration is closed on this hub.
    RegistrationClosed = 403 "registration_closed" "Registration is closed";
    /// Nothing there, or not the caller's.
    NotFound = 404 "not_found" "Not found";
    /// The method is not one of this route's.
    MethodNotAllowed = 405 "method_not_allowed" "Method not allowed";
    /// The client was too slow with its request.
    RequestTimeout = 408 "request_timeout" "Request timed out";
    /// The name or state is taken.
    Conflict = 409 "conflict" "Conflict";
    /// The operation has ended: it can be neither cancelled nor changed.
    OperationTerminal = 409 "operation_terminal" "Operation has ended";
    /// The same idempotency key came with another request.
    IdempotencyMismatch = 422 "idempotency_mismatch" "Idempotency key used for another request";
    /// The account that made the operation may not do it any more.
    PermissionRevoked = 403 "permission_revoked" "Permission revoked";
    /// Another manager owns fields that the manifest sets; the detail names it and them.
    ApplyConflict = 409 "apply_conflict" "Apply conflict";
    /// A later attempt of the operation is known.
    StaleEpoch = 409 "stale_epoch" "Stale attempt";
    /// The body is larger than the route takes.
    PayloadTooLarge = 413 "payload_too_large" "Payload too large";
    /// The URL is longer than the hub takes.
    UriTooLong = 414 "uri_too_long" "URI too long";
    /// The content type is not one of this route's.
    UnsupportedMediaType = 415 "unsupported_media_type" "Unsupported media type";
    /// The quota is used up; `Retry-After` says when to come back.
    RateLimited = 429 "rate_limited" "Rate limit exceeded";
    /// More or longer headers than the hub takes.
    HeadersTooLarge = 431 "headers_too_large" "Request header fields too large";
    /// Something failed inside; the cause is in the log under the request id.
    Internal = 500 "internal" "Internal error";
    /// A sealed value or a record does not match its proof: it was changed or moved.
    IntegrityError = 500 "integrity_error" "Integrity error";
    /// What is asked for cannot be recorded, so it was not done.
    AuditUnavailable = 503 "audit_unavailable" "Audit unavailable";
    /// The agent answered with an error.
    AgentError = 502 "agent_error" "The agent answered with an error";
    /// The agent's host has no Helm program.
    HelmMissing = 502 "helm_missing" "No Helm at the agent";
    /// The archive is not a chart, or holds what no chart may hold.
    ChartRefused = 400 "chart_refused" "Chart refused";
    /// The agent is not connected.
    AgentOffline = 503 "agent_offline" "Agent not connected";
    /// The agent has as much work as it takes.
    AgentBusy = 503 "agent_busy" "Agent busy";
    /// The identity provider is away or answers nonsense; other ways to log in go on.
    ProviderUnavailable = 503 "provider_unavailable" "Identity provider unavailable";
    /// A service or server that the request needs is away; try again.
    Unavailable = 503 "unavailable" "Temporarily unavailable";
    /// The database refuses or is away; nothing was done.
    StorageUnavailable = 503 "storage_unavailable" "Storage unavailable";
    /// No answer in time.
    Timeout = 504 "timeout" "No answer in time";
    /// A join token is unknown, expired, revoked or used up.
    InvalidJoinToken = 401 "invalid_join_token" "Invalid join token";
    /// An outgoing address is not allowed by the policy.
    AddressNotAllowed = 400 "address_not_allowed" "Address not allowed";
    /// A queue message carried no valid signature.
    UnsignedMessage = 401 "unsigned_message" "Unsigned message";
    /// The message or request was too old when it was looked at.
    Expired = 504 "expired" "Deadline passed before work began";
    /// The caller asked to act as somebody else and may not.
    ImpersonationDenied = 403 "impersonation_denied" "Impersonation denied";
    /// The agent refused the identity it was given.
    IdentityRefused = 403 "identity_refused" "Identity refused";
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One wrong field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// Where: `["body", "username"]`, `["query", "agent_id"]`.
    pub loc: Vec<String>,
    /// What is wrong, for people.
    pub msg: String,
    /// Machine word for the kind of fault (`missing`, `int_parsing`, `value_error`).
    #[serde(rename = "type")]
    pub kind: String,
}

/// An error that may be shown to a client: a code, a sentence, and nothing of the inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Error {
    /// Which row of the table.
    pub code: Code,
    /// One sentence for people; never an inner cause or a secret.
    pub detail: Cow<'static, str>,
    /// The wrong fields of a [`Code::Validation`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Seconds after which a repeat may succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
}

impl Error {
    /// An error with its sentence.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    /// An error whose sentence is the code's title.
    pub fn of(code: Code) -> Self {
        Self::new(code, code.title())
    }

    /// "Not found": also the answer for what is there but not the caller's.
    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::NotFound, detail)
    }

    /// One wrong field.
    pub fn field(location: &[&str], kind: &str, message: impl Into<String>) -> Self {
        let msg = message.into();
        let mut error = Self::new(Code::Validation, msg.clone());
        error.errors.push(FieldError {
            loc: location.iter().map(|part| (*part).to_owned()).collect(),
            msg,
            kind: kind.to_owned(),
        });
        error
    }

    /// Adds when a repeat may succeed.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl From<Code> for Error {
    fn from(code: Code) -> Self {
        Self::of(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_round_trip() {
        let mut seen = std::collections::HashSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code} twice");
            let json = serde_json::to_string(code).unwrap();
            assert_eq!(json, format!("\"{code}\""));
            assert_eq!(serde_json::from_str::<Code>(&json).unwrap(), *code);
        }
    }
}
