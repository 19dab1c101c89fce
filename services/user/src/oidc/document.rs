//! What a provider publishes about itself (OpenID Connect Discovery §3).

use serde::Deserialize;

use crate::domain::is_safe;

/// Longest document that is read (reliability row A18): Keycloak's has 6 KiB.
pub(super) const LONGEST: usize = 256 * 1024;

/// The parts of a discovery document that are used.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Document {
    issuer: String,
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    pub(super) jwks_uri: String,
    #[serde(default)]
    pub(super) end_session_endpoint: Option<String>,
    #[serde(default)]
    pub(super) device_authorization_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// Whether answers carry the issuer (RFC 9207): then one without it is refused.
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

impl Document {
    /// Reads a document, and checks that it is the one of this issuer.
    pub(super) fn parse(json: &[u8], issuer: &str) -> Result<Self, &'static str> {
        let document: Self = serde_json::from_slice(json).map_err(|_| "it is no discovery document")?;
        // Exactly: a document for another issuer would let that one sign for this one.
        if document.issuer != issuer {
            return Err("it is the document of another issuer");
        }
        let optional = [&document.end_session_endpoint, &document.device_authorization_endpoint];
        let all = [&document.authorization_endpoint, &document.token_endpoint, &document.jwks_uri];
        if !all.into_iter().chain(optional.into_iter().flatten()).all(|url| is_safe(url)) {
            return Err("it names an address without TLS");
        }
        Ok(document)
    }

    /// Whether the hub's secret goes into the form: where the provider takes it there only.
    pub(super) fn secret_in_form(&self) -> bool {
        self.token_endpoint_auth_methods_supported.as_ref().is_some_and(|methods| {
            let has = |name: &str| methods.iter().any(|method| method == name);
            has("client_secret_post") && !has("client_secret_basic")
        })
    }
}

/// Where the document of an issuer is (§4.1).
pub(super) fn address(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(issuer: &str, token: &str) -> Result<Document, &'static str> {
        let text = json!({
            "issuer": issuer, "authorization_endpoint": "https://id.example/a", "token_endpoint": token,
            "jwks_uri": "https://id.example/k",
        });
        Document::parse(text.to_string().as_bytes(), "https://id.example")
    }

    #[test]
    fn only_the_issuers_own() {
        assert!(document("https://id.example", "https://id.example/t").is_ok());
        for other in ["https://id.example/", "https://ID.example", "https://evil.example", ""] {
            assert!(document(other, "https://id.example/t").is_err(), "{other}");
        }
        assert!(document("https://id.example", "http://id.example/t").is_err());
        assert!(Document::parse(b"[]", "https://id.example").is_err());
    }
}
