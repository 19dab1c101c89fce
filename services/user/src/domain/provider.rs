//! Identity providers as the settings describe them, and the rules of who somebody from there is here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use roadstead_auth::oidc::IdToken;
use roadstead_contracts::identity::Role;
use roadstead_contracts::policy::Subject;
use roadstead_runtime::Secret;
use roadstead_runtime::config::Settings;
use serde::Deserialize;
use serde_json::Value;

/// Most providers of a hub: each is asked for its keys, and listed on the login page.
pub const PROVIDERS_MAX: usize = 16;
/// Longest name of a provider.
const NAME_MAX: usize = 40;
/// Largest file of providers.
const FILE_MAX: u64 = 256 * 1024;
/// Most groups and roles of a person that are looked at.
const GROUPS_MAX: usize = 1_000;
/// Where providers send people back to, under the hub's public address.
pub const CALLBACK: &str = "/api/v1/auth/oidc/callback";

/// A provider.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of the settings")]
pub struct ProviderSettings {
    /// Its name in links.
    pub name: String,
    /// Its name for people.
    #[serde(default)]
    pub title: String,
    /// Its address, exactly as its tokens say it.
    pub issuer: String,
    /// Who the hub is to it.
    pub client_id: String,
    /// The hub's secret there.
    #[serde(default)]
    pub client_secret: Option<Secret>,
    /// File of the hub's secret there.
    #[serde(default)]
    pub client_secret_file: Option<std::path::PathBuf>,
    /// Where it sends people back to.
    #[serde(default)]
    pub redirect_url: String,
    /// What is asked for.
    #[serde(default = "default_scopes")]
    pub scopes: Vec<String>,
    /// Claim that lists groups.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// Claim that lists roles.
    #[serde(default = "default_roles_claim")]
    pub roles_claim: String,
    /// Role here for a group or role there.
    #[serde(default)]
    pub role_map: BTreeMap<String, Role>,
    /// Refuse whoever has nothing in the map.
    #[serde(default)]
    pub require_role: bool,
    /// Refuse addresses that are not verified.
    #[serde(default = "yes")]
    pub require_verified_email: bool,
    /// Link by verified address, once.
    #[serde(default)]
    pub link_by_email: bool,
    /// Whether it is used.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn yes() -> bool {
    true
}
fn default_scopes() -> Vec<String> {
    ["openid", "profile", "email"].map(str::to_owned).to_vec()
}
fn default_groups_claim() -> String {
    "groups".to_owned()
}
fn default_roles_claim() -> String {
    "roles".to_owned()
}

impl ProviderSettings {
    /// The providers of the settings: the one that stands in them, and those of the file.
    pub fn all(settings: &Settings) -> Result<Vec<Self>> {
        let oidc = &settings.auth.oidc;
        let mut all = Vec::new();
        if oidc.enabled {
            all.push(Self {
                name: oidc.name.clone(),
                title: oidc.title.clone(),
                issuer: oidc.issuer.clone(),
                client_id: oidc.client_id.clone(),
                client_secret: oidc.client_secret.clone(),
                client_secret_file: None,
                redirect_url: oidc.redirect_url.clone().unwrap_or_default(),
                scopes: oidc.scopes.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect(),
                groups_claim: oidc.groups_claim.clone(),
                roles_claim: oidc.roles_claim.clone(),
                role_map: oidc
                    .role_map
                    .iter()
                    .filter_map(|(theirs, ours)| Role::parse(ours).map(|role| (theirs.clone(), role)))
                    .collect(),
                require_role: oidc.require_role,
                require_verified_email: oidc.require_verified_email,
                link_by_email: oidc.link_by_email,
                enabled: true,
            });
        }
        if let Some(file) = &oidc.providers_file {
            let more =
                read_file(file).with_context(|| format!("failed to read the providers in {}", file.display()))?;
            all.extend(more.into_iter().filter(|provider| provider.enabled));
        }
        let public = settings.server.public_url.as_deref().unwrap_or_default().trim_end_matches('/');
        for provider in &mut all {
            provider.complete(public)?;
        }
        ensure!(all.len() <= PROVIDERS_MAX, "a hub has at most {PROVIDERS_MAX} identity providers");
        let names: BTreeSet<_> = all.iter().map(|provider| provider.name.as_str()).collect();
        let issuers: BTreeSet<_> = all.iter().map(|provider| (&provider.issuer, &provider.client_id)).collect();
        ensure!(
            names.len() == all.len() && issuers.len() == all.len(),
            "two identity providers have the same name, or the same issuer and client"
        );
        Ok(all)
    }

    fn complete(&mut self, public: &str) -> Result<()> {
        let name = &self.name;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        ensure!(
            (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(plain),
            "an identity provider's name has 1 to {NAME_MAX} of a-z, 0-9 and -"
        );
        if self.title.is_empty() {
            self.title.clone_from(&self.name);
        }
        if let Some(file) = &self.client_secret_file {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("failed to read the secret of the identity provider {name}"))?;
            self.client_secret = Some(Secret::new(text.trim_end_matches(['\r', '\n'])));
        }
        if self.redirect_url.is_empty() {
            ensure!(
                !public.is_empty(),
                "the identity provider {name} needs redirect_url, or the hub server.public_url"
            );
            self.redirect_url = format!("{public}{CALLBACK}");
        }
        if !self.scopes.iter().any(|scope| scope == "openid") {
            self.scopes.insert(0, "openid".to_owned());
        }
        for url in [&self.issuer, &self.redirect_url] {
            ensure!(
                is_safe(url),
                "the identity provider {name}: {url} must begin with https:// (http:// only on this machine)"
            );
        }
        Ok(())
    }

    /// Whether browsers come back by TLS: then cookies carry the prefix that only TLS can set.
    pub fn by_tls(&self) -> bool {
        self.redirect_url.starts_with("https://")
    }

    /// The groups that it puts somebody into, by their exact names: subjects of rules.
    pub fn groups(&self, token: &IdToken) -> BTreeSet<String> {
        let good = |name: &&str| Subject::parse(&format!("group:{name}")).is_ok();
        names(&token.all, &self.groups_claim).into_iter().filter(good).map(str::to_owned).collect()
    }

    /// The roles here of somebody from there, by exact names, never by parts of them. `None` when the
    /// provider says nothing about roles.
    pub fn roles(&self, token: &IdToken) -> Option<BTreeSet<Role>> {
        if self.role_map.is_empty() {
            return None;
        }
        let mut roles = BTreeSet::new();
        for claim in [&self.groups_claim, &self.roles_claim] {
            for name in names(&token.all, claim) {
                roles.extend(self.role_map.get(name).copied());
            }
        }
        Some(roles)
    }
}

/// The texts of a claim: one text, or a list of them.
fn names<'a>(claims: &'a serde_json::Map<String, Value>, path: &str) -> Vec<&'a str> {
    // A claim whose own name has dots (`https://example.com/roles`) comes first.
    let found = claims.get(path).or_else(|| {
        let mut parts = path.split('.');
        let first = claims.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    });
    match found {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(many)) => many.iter().take(GROUPS_MAX).filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// TLS, or a development server on this machine.
pub fn is_safe(url: &str) -> bool {
    if url.starts_with("https://") {
        return true;
    }
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority
        .strip_prefix("[::1]")
        .map_or_else(|| authority.rsplit_once(':').map_or(authority, |(host, _)| host), |_| "localhost");
    host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

fn read_file(file: &Path) -> Result<Vec<ProviderSettings>> {
    ensure!(std::fs::metadata(file)?.len() <= FILE_MAX, "it is larger than {FILE_MAX} bytes");
    let text = std::fs::read_to_string(file)?;
    // The text around a fault may be a secret: only its place is told.
    serde_saphyr::from_str(&text).map_err(|fault| match fault.location() {
        Some(place) => {
            anyhow::anyhow!("it is no list of providers at line {}, column {}", place.line(), place.column())
        }
        None => anyhow::anyhow!("it is no list of providers"),
    })
}

/// Where a browser goes after a login: a path of this hub, or the start page (reliability row A17).
pub fn next_page(wanted: Option<&str>) -> &str {
    const START: &str = "/";
    const NEXT_MAX: usize = 1_024;
    let Some(path) = wanted.filter(|path| path.len() <= NEXT_MAX) else { return START };
    let own = path.starts_with('/')
        && !path.starts_with("//")
        // Browsers read `\` as `/`, and drop tabs and line ends on the way.
        && !path.bytes().any(|byte| byte == b'\\' || !(0x21..0x7f).contains(&byte));
    if own { path } else { START }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn provider(map: &[(&str, Role)]) -> ProviderSettings {
        let mut provider: ProviderSettings = serde_json::from_value(json!({
            "name": "sso", "issuer": "https://id.example", "client_id": "hub",
        }))
        .unwrap();
        provider.role_map = map.iter().map(|(name, role)| ((*name).to_owned(), *role)).collect();
        provider
    }

    fn token(claims: serde_json::Value) -> IdToken {
        let serde_json::Value::Object(all) = claims else { panic!() };
        IdToken {
            subject: "1".into(),
            session: None,
            email: None,
            email_verified: false,
            preferred_username: None,
            given_name: None,
            family_name: None,
            all,
        }
    }

    #[test]
    fn roles_by_exact_names_only() {
        let mut provider = provider(&[("admin", Role::Admin), ("/ops", Role::Operator), ("everyone", Role::Viewer)]);
        // The predecessor made an admin of each of these.
        for odd in ["non-admin", "a", "", "Admin", "admin ", "administrator"] {
            assert_eq!(provider.roles(&token(json!({"groups": [odd]}))), Some(BTreeSet::new()), "{odd}");
        }
        assert_eq!(provider.roles(&token(json!({"groups": ["/ops", "x"]}))), Some([Role::Operator].into()));
        assert_eq!(provider.roles(&token(json!({"roles": "admin"}))), Some([Role::Admin].into()));
        provider.roles_claim = "realm_access.roles".into();
        let both = token(json!({"realm_access": {"roles": ["everyone", 7]}, "groups": ["/ops"]}));
        assert_eq!(provider.roles(&both), Some([Role::Viewer, Role::Operator].into()));
        provider.role_map.clear();
        assert_eq!(provider.roles(&both), None);
    }

    #[test]
    fn next_stays_on_the_hub() {
        assert_eq!(next_page(Some("/clusters?x=1#y")), "/clusters?x=1#y");
        for evil in ["//evil", "/\\evil", "https:evil", "https://evil", "evil", "", "/\t/evil", "/\n/evil", "/é"] {
            assert_eq!(next_page(Some(evil)), "/", "{evil:?}");
        }
        assert_eq!(next_page(None), "/");
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        for good in ["https://id.example", "http://localhost:8080/x", "http://127.0.0.1:1/x", "http://[::1]:3"] {
            assert!(is_safe(good), "{good}");
        }
        for bad in
            ["http://id.example", "http://localhost.evil", "http://127.0.0.1.evil:80", "ftp://localhost", "localhost"]
        {
            assert!(!is_safe(bad), "{bad}");
        }
    }
}
