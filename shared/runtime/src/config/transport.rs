//! Where TLS to a server is asked for, an address without it is refused: nothing falls back to plain.

use std::path::{Path, PathBuf};

use roadstead_contracts::percent::escape;

use super::address::Address;
use super::layers::Values;
use super::{Audit, Database, Mesh, Metrics, ServiceRole, Settings};

/// Modes in which PostgreSQL's certificate is looked at.
const VERIFYING: [&str; 2] = ["verify-ca", "verify-full"];

/// Files that belong together.
pub(super) struct Files<'a> {
    pub(super) ca: Option<&'a PathBuf>,
    pub(super) certificate: Option<&'a PathBuf>,
    pub(super) key: Option<&'a PathBuf>,
}

impl Files<'_> {
    /// Whether they ask for TLS.
    pub(super) fn ask(&self) -> bool {
        self.ca.is_some() || self.certificate.is_some() || self.key.is_some()
    }

    /// A certificate is nothing without its key, and the other way round. `prefix`: `redis.`, `audit.syslog_`.
    pub(super) fn check(&self, prefix: &str, values: &mut Values) {
        match (self.certificate, self.key) {
            (Some(_), None) => values.problem(&format!("{prefix}key_file"), "must be set beside the certificate"),
            (None, Some(_)) => values.problem(&format!("{prefix}cert_file"), "must be set beside the key"),
            _ => {}
        }
    }
}

/// Refuses a URL without TLS where TLS is asked for. `schemes`: the plain one, the one with TLS.
pub(super) fn refuse_plain(key: &str, address: &Address, schemes: [&str; 2], asked: bool, values: &mut Values) {
    if asked && address.scheme == schemes[0] {
        values.problem(
            key,
            format!(
                "must begin with {}:// where TLS is asked for; {}:// would be readable on the way",
                schemes[1], schemes[0]
            ),
        );
    }
}

/// Puts mode and files into PostgreSQL's address, where every connection to it finds them.
pub(super) fn secure_database(database: &mut Database, values: &mut Values) {
    let files = Files {
        ca: database.ca_file.as_ref(),
        certificate: database.cert_file.as_ref(),
        key: database.key_file.as_ref(),
    };
    files.check("database.", values);
    if !files.ask() {
        return;
    }
    let Ok(mut address) = Address::parse(database.url.expose()) else { return };
    if !matches!(address.scheme.as_str(), "postgres" | "postgresql") {
        // A front door has no database of its own and may still be given what the others are given.
        if values.layer("database.url").is_some() {
            values.problem("database.ca_file", "is for PostgreSQL; the address names another database");
        }
        return;
    }
    let mut pairs: Vec<String> = address.query.iter().flat_map(|query| query.split('&')).map(str::to_owned).collect();
    let is_mode = |pair: &String| pair.starts_with("sslmode=") || pair.starts_with("ssl-mode=");
    let mode =
        pairs.iter().find(|pair| is_mode(pair)).and_then(|pair| pair.split_once('=')).map(|(_, mode)| mode.to_owned());
    // The default of the parts is in the address too; nobody asked for it.
    let named = mode.filter(|_| values.layer("database.ssl_mode").is_some() || values.layer("database.url").is_some());
    match named.as_deref() {
        Some(mode) if !VERIFYING.contains(&mode) => {
            let words =
                format!("{mode} does not look at the server's certificate: use verify-full, or take the files away");
            values.problem("database.ssl_mode", words);
            return;
        }
        Some(_) => {}
        None => {
            pairs.retain(|pair| !is_mode(pair));
            pairs.push("sslmode=verify-full".to_owned());
        }
    }
    for (name, file) in [("sslrootcert", files.ca), ("sslcert", files.certificate), ("sslkey", files.key)] {
        if let Some(file) = file {
            pairs.retain(|pair| !pair.starts_with(&format!("{name}=")));
            pairs.push(format!("{name}={}", escape(&text(file))));
        }
    }
    address.query = Some(pairs.join("&"));
    database.url = address.build();
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Where the audit trail is sent besides the database.
pub(super) fn check_audit(audit: &Audit, values: &mut Values) {
    let files = Files {
        ca: audit.syslog_ca_file.as_ref(),
        certificate: audit.syslog_cert_file.as_ref(),
        key: audit.syslog_key_file.as_ref(),
    };
    files.check("audit.syslog_", values);
    if let Some(url) = &audit.syslog_url {
        match Address::parse(url) {
            Ok(address) if matches!(address.scheme.as_str(), "tcp" | "tls") => {
                refuse_plain("audit.syslog_url", &address, ["tcp", "tls"], files.ask(), values);
                if address.port.is_none() || address.user.is_some() || address.path.is_some() || address.query.is_some()
                {
                    values.problem("audit.syslog_url", "must be tcp://host:port or tls://host:port");
                }
            }
            Ok(_) => values.problem("audit.syslog_url", "must begin with tcp:// or tls://"),
            Err(message) => values.problem("audit.syslog_url", message),
        }
    }
    if let Some(url) = &audit.otlp_endpoint {
        match super::address::check_web(url) {
            Ok(()) if audit.otlp_ca_file.is_some() && !url.starts_with("https://") => {
                values.problem("audit.otlp_endpoint", "must begin with https:// where TLS is asked for");
            }
            Ok(()) => {}
            Err(message) => values.problem("audit.otlp_endpoint", message),
        }
    }
}

/// Certificates of the services themselves, and of the listener for figures.
pub(super) fn check_own(role: ServiceRole, settings: &mut Settings, values: &mut Values) {
    let mesh = &mut settings.mesh;
    let files = Files { ca: mesh.ca_file.as_ref(), certificate: mesh.cert_file.as_ref(), key: mesh.key_file.as_ref() };
    files.check("mesh.", values);
    match (&mesh.ca_file, &mesh.cert_file) {
        (None, Some(_)) => values.problem("mesh.ca_file", "must be set beside the certificate"),
        (Some(_), None) => values.problem("mesh.cert_file", "must be set beside the authority"),
        (None, None) if !mesh.client_names.is_empty() => {
            values.problem("mesh.client_names", "are looked for in certificates: set mesh.ca_file as well");
        }
        (Some(_), Some(_)) if role == ServiceRole::Cluster && !settings.user.url.starts_with("https://") => {
            values.problem("user.url", "must begin with https:// where the services have certificates");
        }
        _ => {}
    }
    if role == ServiceRole::Up && mesh.is_mutual() {
        values
            .notes
            .push("mesh.ca_file has no effect: the services of one process call each other on loopback".to_owned());
        (mesh.ca_file, mesh.cert_file, mesh.key_file) = (None, None, None);
    }
    let metrics = &settings.metrics;
    let files = Files { ca: None, certificate: metrics.cert_file.as_ref(), key: metrics.key_file.as_ref() };
    files.check("metrics.", values);
    if metrics.client_ca_file.is_some() && metrics.cert_file.is_none() {
        values.problem("metrics.cert_file", "must be set beside metrics.client_ca_file");
    }
    if metrics.client_ca_file.is_none() && !metrics.client_names.is_empty() {
        values.problem("metrics.client_names", "are looked for in certificates: set metrics.client_ca_file as well");
    }
    if metrics.enabled && metrics.cert_file.is_some() && metrics.port == 0 && role != ServiceRole::Tool {
        values.problem("metrics.port", "must be set beside metrics.cert_file: figures are shown nowhere else then");
    }
}

impl Mesh {
    /// Whether the services have certificates for each other.
    pub fn is_mutual(&self) -> bool {
        self.ca_file.is_some() && self.cert_file.is_some() && self.key_file.is_some()
    }
}

impl Metrics {
    /// Whether the doors show figures: not where a listener with a certificate of its own does.
    pub fn at_doors(&self) -> bool {
        self.enabled && self.cert_file.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MapEnv, ServiceRole, Settings};

    fn mesh() -> MapEnv {
        MapEnv::new([
            ("ROADSTEAD_MESH_SECRET", "0123456789abcdef0123456789abcdef"),
            ("ROADSTEAD_SEAL_MASTER_KEY", "cm9hZHN0ZWFkLXRlc3RzLW1hc3Rlci1rZXktMzItYnk="),
            ("ROADSTEAD_RABBITMQ_USER", "hub"),
            ("ROADSTEAD_RABBITMQ_PASSWORD", "k3y"),
            ("ROADSTEAD_DATABASE_HOST", "db"),
            ("ROADSTEAD_DATABASE_USER", "hub"),
            ("ROADSTEAD_DATABASE_PASSWORD", "k3y"),
        ])
    }

    fn problems(env: &MapEnv) -> String {
        Settings::load(ServiceRole::User, None, env).unwrap_err().to_string()
    }

    #[test]
    fn files_ask_for_tls_everywhere() {
        let env = mesh()
            .with("ROADSTEAD_RABBITMQ_CA_FILE", "/ca.pem")
            .with("ROADSTEAD_REDIS_TLS", "true")
            .with("ROADSTEAD_DATABASE_CA_FILE", "/c a.pem")
            .with("ROADSTEAD_DATABASE_CERT_FILE", "/cert.pem")
            .with("ROADSTEAD_DATABASE_KEY_FILE", "/key.pem");
        let settings = Settings::load(ServiceRole::User, None, &env).unwrap();
        assert_eq!(settings.rabbitmq.url.unwrap().expose(), "amqps://hub:k3y@localhost:5671/%2F");
        assert_eq!(settings.redis.url.unwrap().expose(), "rediss://localhost:6379/0");
        let url = "postgres://hub:k3y@db:5432/roadstead?sslmode=verify-full&sslrootcert=%2Fc%20a.pem&sslcert=%2Fcert.pem\
                   &sslkey=%2Fkey.pem";
        assert_eq!(settings.database.url.expose(), url);
        // The front door has no database and may be given the same.
        Settings::load(ServiceRole::Cluster, None, &env.with("ROADSTEAD_DATABASE_HOST", "")).unwrap();
    }

    #[test]
    fn plain_addresses_are_refused_where_tls_is_asked_for() {
        for (name, url, asked) in [
            ("ROADSTEAD_RABBITMQ_URL", "amqp://hub:c4nary@b/", ("ROADSTEAD_RABBITMQ_TLS", "true")),
            ("ROADSTEAD_RABBITMQ_URL", "amqp://hub:c4nary@b/", ("ROADSTEAD_RABBITMQ_CA_FILE", "/ca.pem")),
            ("ROADSTEAD_REDIS_URL", "redis://:c4nary@r/0", ("ROADSTEAD_REDIS_CA_FILE", "/ca.pem")),
            ("ROADSTEAD_AUDIT_SYSLOG_URL", "tcp://c4nary:601", ("ROADSTEAD_AUDIT_SYSLOG_CA_FILE", "/ca.pem")),
        ] {
            let mut env = mesh().with(name, url).with(asked.0, asked.1);
            if name.starts_with("ROADSTEAD_RABBITMQ") {
                env = env.with("ROADSTEAD_RABBITMQ_USER", "").with("ROADSTEAD_RABBITMQ_PASSWORD", "");
            }
            let said = problems(&env);
            assert!(said.contains("where TLS is asked for") && !said.contains("c4nary"), "{said}");
        }
        for mode in ["disable", "prefer", "require"] {
            let env = mesh().with("ROADSTEAD_DATABASE_CA_FILE", "/ca.pem").with("ROADSTEAD_DATABASE_SSL_MODE", mode);
            assert!(problems(&env).contains("does not look at the server's certificate"), "{mode}");
        }
        let env =
            mesh().with("ROADSTEAD_REDIS_CERT_FILE", "/cert.pem").with("ROADSTEAD_AUDIT_SYSLOG_KEY_FILE", "/k.pem");
        let said = problems(&env);
        assert!(said.contains("REDIS_KEY_FILE") && said.contains("AUDIT_SYSLOG_CERT_FILE"), "{said}");
    }

    #[test]
    fn certificates_of_services_and_scrapers_come_whole() {
        let cluster = |env: &MapEnv| Settings::load(ServiceRole::Cluster, None, env).map_err(|fault| fault.to_string());
        let own = mesh()
            .with("ROADSTEAD_MESH_CA_FILE", "/ca.pem")
            .with("ROADSTEAD_MESH_CERT_FILE", "/cert.pem")
            .with("ROADSTEAD_MESH_KEY_FILE", "/key.pem")
            .with("ROADSTEAD_MESH_CLIENT_NAMES", "front.mesh, spiffe://mesh/front");
        let settings = cluster(&own.clone().with("ROADSTEAD_USER_URL", "https://user:8001")).unwrap();
        assert!(settings.mesh.is_mutual() && settings.metrics.at_doors());
        assert_eq!(settings.mesh.client_names, ["front.mesh", "spiffe://mesh/front"]);
        assert!(cluster(&own).unwrap_err().contains("must begin with https://"));
        for (name, said) in
            [("CA_FILE", "MESH_CA_FILE"), ("CERT_FILE", "MESH_CERT_FILE"), ("KEY_FILE", "MESH_KEY_FILE")]
        {
            let refused = problems(&own.clone().with(format!("ROADSTEAD_MESH_{name}"), ""));
            assert!(refused.contains(said), "{name}: {refused}");
        }
        // One process has nobody to show a certificate to.
        let up = MapEnv::new([("ROADSTEAD_MESH_CA_FILE", "/a"), ("ROADSTEAD_MESH_CERT_FILE", "/b")]);
        let up = up.with("ROADSTEAD_MESH_KEY_FILE", "/c").with("ROADSTEAD_DATA_DIR", "/d");
        let up = Settings::load(ServiceRole::Up, None, &up).unwrap();
        assert!(!up.mesh.is_mutual() && up.notes.iter().any(|note| note.contains("mesh.ca_file")), "{:?}", up.notes);

        let figures =
            mesh().with("ROADSTEAD_METRICS_CERT_FILE", "/cert.pem").with("ROADSTEAD_METRICS_KEY_FILE", "/key.pem");
        assert!(!Settings::load(ServiceRole::User, None, &figures).unwrap().metrics.at_doors());
        assert!(problems(&figures.clone().with("ROADSTEAD_METRICS_PORT", "0")).contains("METRICS_PORT"));
        assert!(
            problems(&figures.clone().with("ROADSTEAD_METRICS_CLIENT_NAMES", "a")).contains("metrics.client_ca_file")
        );
        let ca = mesh().with("ROADSTEAD_METRICS_CLIENT_CA_FILE", "/ca.pem");
        assert!(problems(&ca).contains("METRICS_CERT_FILE"));
    }
}
