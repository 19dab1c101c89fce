use super::agent::AgentSettings;
use super::*;

const GOOD: &str = "kR7vQ2mX9pL4wT8sB3nF6hJ1dG5cZ0yA";
const SEAL: &str = "a1I3dlEybVg5cEw0d1Q4c0IzbkY2aEoxZEc1Y1oweUE=";

fn mesh() -> MapEnv {
    MapEnv::new([
        ("ROADSTEAD_MESH_SECRET", GOOD),
        ("RABBITMQ_USER", "hub"),
        ("RABBITMQ_PASSWORD", "p@s/w#?"),
        ("DATABASE_URL", "postgresql://hub:x7@db:5432/hub"),
        ("ROADSTEAD_SEAL_MASTER_KEY", SEAL),
    ])
}

fn load(role: ServiceRole, env: &MapEnv) -> Result<Settings, ConfigErrors> {
    Settings::load(role, None, env)
}

fn problems(role: ServiceRole, env: &MapEnv) -> String {
    load(role, env).expect_err("was taken").to_string()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn with_file(role: ServiceRole, env: &MapEnv, text: &str) -> Result<Settings, ConfigErrors> {
    let file = file(text);
    Settings::load(role, Some(file.path().to_owned()), env)
}

#[test]
fn every_default_can_be_read_and_every_name_is_unique() {
    for role in [ServiceRole::Up, ServiceRole::Tool] {
        load(role, &MapEnv::default()).unwrap();
    }
    for role in [ServiceRole::User, ServiceRole::Cluster, ServiceRole::Onboarding, ServiceRole::Operations] {
        load(role, &mesh()).unwrap();
    }
    let mut keys = std::collections::HashSet::new();
    for row in SECTIONS.iter().flat_map(|(_, rows)| rows.iter()) {
        assert!(keys.insert(row.key), "{} twice", row.key);
        assert!(!row.doc.is_empty());
        assert!(
            !sections::WITHOUT_EFFECT.iter().any(|(path, _)| row.paths().any(|known| known == *path)),
            "{}",
            row.key
        );
    }
    for role in
        [ServiceRole::User, ServiceRole::Cluster, ServiceRole::Onboarding, ServiceRole::Operations, ServiceRole::Up]
    {
        let mut names = std::collections::HashSet::new();
        for row in SECTIONS.iter().flat_map(|(_, rows)| rows.iter()) {
            let own: std::collections::HashSet<String> =
                row.names().into_iter().filter(|(_, on, ..)| on.counts(role)).map(|(name, ..)| name).collect();
            for name in own {
                assert!(names.insert(name.clone()), "{name} sets two rows");
            }
        }
    }
}

#[test]
fn the_later_layer_wins() {
    let yaml = "server:\n  port: 8100\n  host: 127.0.0.2\nlogging: {level: warn}\n";
    let env = mesh().with("ROADSTEAD_SERVER_PORT", "8200");
    let settings = with_file(ServiceRole::Cluster, &env, yaml).unwrap();
    assert_eq!(settings.server.port, 8200);
    assert_eq!(settings.server.host.to_string(), "127.0.0.2");
    assert_eq!(settings.logging.level, LogLevel::Warn);
    let path = file(yaml);
    let top = [("server.port", "8300".to_owned(), "--port")];
    let settings = Settings::load_with(ServiceRole::Cluster, Some(path.path().to_owned()), &env, &top).unwrap();
    assert_eq!(settings.server.port, 8300);
}

#[test]
fn seed_000_variables_work() {
    let env = MapEnv::new([
        ("ROADSTEAD_MESH_SECRET", GOOD),
        ("KUBEOP_KMS_MASTER_KEY", SEAL),
        ("RABBITMQ_URL", "amqp://hub:k3y@broker:5672/"),
        ("MCKMT_SERVER_HOST", "127.0.0.3"),
        ("MCKMT_SERVER_PORT", "8080"),
        ("MCKMT_DATABASE_HOST", "postgres"),
        ("MCKMT_DATABASE_PORT", "5433"),
        ("MCKMT_DATABASE_USER", "mckmt"),
        ("MCKMT_DATABASE_PASSWORD", "p@s/w#? é"),
        ("MCKMT_DATABASE_NAME", "mckmt"),
        ("MCKMT_REDIS_HOST", "redis"),
        ("MCKMT_REDIS_PORT", "6380"),
        ("MCKMT_REDIS_PASSWORD", "r/d"),
        ("MCKMT_JWT_SECRET", GOOD),
        ("MCKMT_JWT_EXPIRATION", "24h"),
        ("MCKMT_JWT_ISSUER", "mckmt"),
        ("MCKMT_JWT_AUDIENCE", "mckmt-users"),
        ("MCKMT_AUTH_OIDC_ENABLED", "false"),
        ("MCKMT_AUTH_PASSWORD_ENABLED", "true"),
        ("MCKMT_AUTH_PASSWORD_MIN_LENGTH", "10"),
        ("MCKMT_AUTH_RBAC_STRATEGY", "casbin"),
        ("MCKMT_AUTH_RBAC_DEFAULT_ROLE", "operator"),
        ("MCKMT_LOGGING_LEVEL", "debug"),
        ("MCKMT_LOGGING_FORMAT", "console"),
        ("MCKMT_METRICS_ENABLED", "false"),
        ("MCKMT_METRICS_PORT", "9191"),
    ]);
    let settings = load(ServiceRole::User, &env).unwrap();
    assert_eq!(settings.server.port, 8080);
    assert_eq!(
        settings.database.url.expose(),
        "postgres://mckmt:p%40s%2Fw%23%3F%20%C3%A9@postgres:5433/mckmt?sslmode=prefer"
    );
    assert_eq!(settings.redis.url.unwrap().expose(), "redis://:r%2Fd@redis:6380/0");
    assert_eq!(settings.auth.jwt.algorithm, JwtAlgorithm::Hs256);
    assert_eq!(settings.auth.jwt.expiration.as_secs(), 86_400);
    assert_eq!((settings.auth.jwt.issuer.as_str(), settings.auth.jwt.audience.as_str()), ("mckmt", "mckmt-users"));
    assert_eq!(settings.auth.password.min_length, 10);
    assert_eq!(settings.user.default_role, DefaultRole::Operator);
    assert_eq!((settings.logging.level, settings.logging.format), (LogLevel::Debug, LogFormat::Console));
    assert!(!settings.metrics.enabled && settings.metrics.port == 9191);
    // Every one of them has a meaning here: nothing is left to be noted.
    assert_eq!(settings.authorization.strategy, Strategy::Casbin);
    assert_eq!(settings.notes.len(), 0, "{:?}", settings.notes);
}

#[test]
fn seed_001_variables_work() {
    let env = mesh()
        .with("HOST", "127.0.0.4")
        .with("PORT", "8018")
        .with("DEBUG", "true")
        .with("USER_SERVICE_URL", "https://10.0.32.106:8001")
        .with("RABBITMQ_HOST", "rabbit")
        .with("RABBITMQ_PORT", "5673")
        .with("RABBITMQ_VHOST", "/")
        .with("WEBSOCKET_TIMEOUT", "45")
        .with("RATE_LIMIT_ENABLED", "false")
        .with("RATE_LIMIT_REQUESTS_PER_MINUTE", "30")
        .with("USE_SSL", "true")
        .with("SSL_KEYFILE", "/tls/key.pem")
        .with("SSL_CERTFILE", "/tls/cert.pem");
    let settings = load(ServiceRole::Cluster, &env).unwrap();
    assert_eq!((settings.server.host.to_string().as_str(), settings.server.port), ("127.0.0.4", 8018));
    assert_eq!(settings.logging.level, LogLevel::Debug);
    assert!(!settings.dev, "debug is not dev");
    assert_eq!(settings.user.url, "https://10.0.32.106:8001");
    assert_eq!(settings.rabbitmq.url.as_ref().unwrap().expose(), "amqp://hub:p%40s%2Fw%23%3F@rabbit:5673/%2F");
    assert_eq!(settings.agents.request_timeout.as_secs(), 45);
    assert!(!settings.rate_limit.enabled && settings.rate_limit.requests_per_minute == 30);
    assert!(settings.tls.enabled && settings.tls.key_file.ends_with("key.pem"));
    // The same two names mean each service's own door.
    assert_eq!(load(ServiceRole::User, &env).unwrap().user.port, 8018);
    assert_eq!(load(ServiceRole::Onboarding, &env).unwrap().server.agent_port, 8018);
    assert_eq!(load(ServiceRole::Operations, &env).unwrap().operations.port, 8018);
    let up = load(ServiceRole::Up, &env).unwrap();
    assert_eq!((up.server.port, up.logging.level), (8008, LogLevel::Info), "bare names never count for up");
    assert!(up.rabbitmq.url.is_none() && up.redis.url.is_none());
    assert!(up.database.url.expose().starts_with("sqlite:"));
}

#[test]
fn seed_004_variables_work() {
    let env = mesh()
        .with("JWT_SECRET_KEY", GOOD)
        .with("JWT_ALGORITHM", "HS256")
        .with("JWT_ACCESS_TOKEN_EXPIRE_MINUTES", "60")
        .with("ROADSTEAD_AUTH_JWT_EXPIRATION", "1h")
        .with("LLM_ENABLED", "true")
        .with("LLM_API_URL", "https://llm")
        .with("LLM_API_KEY", "your-llm-api-key")
        .with("PROMETHEUS_URL", "http://prometheus-server:9090");
    let settings = load(ServiceRole::User, &env).unwrap();
    assert_eq!(settings.auth.jwt.expiration.as_secs(), 3_600);
    assert_eq!(settings.auth.jwt.algorithm, JwtAlgorithm::Hs256);
    assert_eq!(settings.database.url.expose(), "postgresql://hub:x7@db:5432/hub");
    assert_eq!(settings.notes.len(), 4);
}

const SEED_HUB_YAML: &str = include_str!("seed_hub.yaml");

#[test]
fn the_seeds_hub_file_loads() {
    let env = MapEnv::new([("ROADSTEAD_MESH_SECRET", GOOD), ("RABBITMQ_PASSWORD", "k3y"), ("ROADSTEAD_DEV", "true")]);
    let settings = with_file(ServiceRole::Cluster, &env, SEED_HUB_YAML).unwrap();
    assert_eq!(settings.server.port, 8080);
    assert_eq!(settings.database.url.expose(), "postgres://mckmt:mckmt@localhost:5432/mckmt?sslmode=disable");
    assert_eq!((settings.database.max_connections, settings.database.min_connections), (25, Some(5)));
    assert_eq!(settings.auth.jwt.algorithm, JwtAlgorithm::Hs256);
    assert!(!settings.tls.enabled && settings.metrics.enabled && settings.metrics.port == 9091);
    assert!(settings.notes.iter().any(|note| note.contains("server.write_timeout")), "{:?}", settings.notes);
    // Outside development its samples are refused, each by its name.
    let fault =
        with_file(ServiceRole::Cluster, &env.with("ROADSTEAD_DEV", "false"), SEED_HUB_YAML).unwrap_err().to_string();
    assert!(fault.contains("auth.jwt.secret in") && fault.contains("database.password in"), "{fault}");
    assert!(!fault.contains("your-super-secret"), "{fault}");
}

#[test]
fn the_three_agent_files_load() {
    let shapes = [
        "server: {host: 0.0.0.0, port: 8081}\nhub: {endpoint: 'https://your-hub-api.com', token: rsj_x}\n\
         cluster:\n  name: production-cluster\n  labels: {environment: production, region: us-west-2}\n\
         kubeconfig: {path: /etc/kubernetes/admin.conf}\nlogging: {level: info, format: json}\n",
        "hub_url: localhost:8081\ntoken: rsj_x\nheartbeat_interval: 30s\nreconnect_wait: 5s\noperation_timeout: 5m\n\
         max_retries: 3\nretry_backoff: 1s\n",
        "hub: {url: 'http://hub:8080', grpc_port: 8081, timeout: 30s, retry_attempts: 3, retry_delay: 5s}\n",
    ];
    let urls = ["https://your-hub-api.com", "http://localhost:8081", "http://hub:8080"];
    for (shape, url) in shapes.iter().zip(urls) {
        let file = file(shape);
        let env = MapEnv::new([("MCKMT_CONFIG_PATH", file.path().to_str().unwrap())]);
        let settings = AgentSettings::load(None, &env, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(settings.hub.url, url);
    }
    let file = file(shapes[0]);
    let env = MapEnv::new([("MCKMT_CLUSTER_NAME", "from-env")]);
    let settings = AgentSettings::load(Some(file.path().to_owned()), &env, &[]).unwrap();
    assert_eq!(settings.cluster.name.as_deref(), Some("from-env"));
    assert_eq!(settings.cluster.labels.len(), 2);
    assert_eq!(settings.kubeconfig.path.unwrap().to_str(), Some("/etc/kubernetes/admin.conf"));
    assert!(AgentSettings::load(None, &MapEnv::default(), &[]).unwrap_err().to_string().contains("--hub"));
}

/// Reliability row C01.
#[test]
fn all_problems_come_at_once_and_show_no_secret() {
    let env = MapEnv::new([
        ("ROADSTEAD_SERVER_PORTS", "8008"),
        ("PORT", "abc"),
        ("ROADSTEAD_SERVER_AGENT_PORT", "70000"),
        ("ROADSTEAD_DEV", "maybe"),
        ("RABBITMQ_URL", "amqp://hub:p@s/w#hunter2?@broker/"),
        ("DATABASE_URL", "postgres://hub:canary-secret@db/hub"),
        ("MCKMT_JWT_SECRET", "short-canary"),
        ("JWT_SECRET_KEY", "other-canary"),
        ("ROADSTEAD_MESH_SECRET", "short-canary"),
        ("MCKMT_DATABASE_HOST", "elsewhere"),
        ("ROADSTEAD_SERVER_BODIES_LIMIT", "8MiB"),
    ]);
    let fault = problems(ServiceRole::Cluster, &env);
    for part in [
        "ROADSTEAD_SERVER_PORTS: is no setting; did you mean ROADSTEAD_SERVER_PORT?",
        "PORT: must be a port",
        "ROADSTEAD_SERVER_AGENT_PORT: must be a port",
        "ROADSTEAD_DEV: must be true or false",
        "RABBITMQ_URL: has a character that must be percent-encoded",
        "MCKMT_JWT_SECRET and JWT_SECRET_KEY: are set to different values",
        "ROADSTEAD_MESH_SECRET: must be at least 32 bytes",
        "DATABASE_URL and MCKMT_DATABASE_HOST: contradict each other",
        "ROADSTEAD_SERVER_BODIES_LIMIT: must be at least 16MiB",
    ] {
        assert!(fault.contains(part), "{part:?} is not in\n{fault}");
    }
    for secret in ["canary", "hunter2", "p@s"] {
        assert!(!fault.contains(secret), "{secret} is in\n{fault}");
    }
    assert_eq!(ConfigErrors::EXIT_CODE, 2);
}

/// Reliability row C01.
#[test]
fn guest_is_refused_in_a_mesh_outside_development() {
    let base = MapEnv::new([("ROADSTEAD_MESH_SECRET", GOOD)]);
    assert!(problems(ServiceRole::Cluster, &base).contains("ROADSTEAD_RABBITMQ_PASSWORD: guest/guest is refused"));
    let url = base.clone().with("RABBITMQ_URL", "amqp://guest:guest@broker/");
    assert!(problems(ServiceRole::Cluster, &url).contains("RABBITMQ_URL: guest/guest is refused"));
    let url = base.clone().with("RABBITMQ_URL", "amqp://broker/");
    assert!(problems(ServiceRole::Cluster, &url).contains("guest/guest is refused"));
    load(ServiceRole::Cluster, &base.with("ROADSTEAD_DEV", "true")).unwrap();
}

/// Reliability row A19.
#[test]
fn documented_and_short_secrets_are_refused_outside_development() {
    for sample in
        ["your-super-secret-jwt-key", "your-super-secret-jwt-key-change-in-production", "your-secret-key-here", "short"]
    {
        for name in ["MCKMT_JWT_SECRET", "JWT_SECRET_KEY", "ROADSTEAD_AUTH_JWT_SECRET", "ROADSTEAD_MESH_SECRET"] {
            let env = mesh().with(name, sample);
            let fault = problems(ServiceRole::User, &env);
            assert!(fault.contains(name) && !fault.contains(sample), "{fault}");
            load(ServiceRole::User, &env.with("ROADSTEAD_DEV", "true")).unwrap();
        }
    }
    let fault = problems(
        ServiceRole::User,
        &mesh().with("DATABASE_URL", "postgresql://user:password@localhost:5432/kubeconfig_db"),
    );
    assert!(fault.contains("DATABASE_URL: is a sample"), "{fault}");
    assert!(problems(ServiceRole::User, &mesh().with("JWT_ALGORITHM", "HS256")).contains("must be set for hs256"));
    assert!(problems(ServiceRole::User, &mesh().with("JWT_ALGORITHM", "none")).contains("must be eddsa, hs256"));
}

#[test]
fn secrets_come_from_files_and_never_print() {
    let secret = file(&format!("{GOOD}\n"));
    let path = secret.path().to_str().unwrap();
    let base = MapEnv::new([
        ("RABBITMQ_PASSWORD", "canary-pass"),
        ("DATABASE_URL", "postgres://a:canary@db/x"),
        ("ROADSTEAD_SEAL_MASTER_KEY", SEAL),
    ]);
    let env = base.clone().with("ROADSTEAD_MESH_SECRET_FILE", path).with("ROADSTEAD_BOOTSTRAP_TOKEN_FILE", path);
    let settings = load(ServiceRole::User, &env).unwrap();
    assert_eq!(settings.mesh.secret.as_ref().unwrap().expose(), GOOD);
    assert_eq!(settings.auth.bootstrap_token.as_ref().unwrap().expose(), GOOD);
    let shown = format!("{settings:?}");
    assert!(!shown.contains("canary") && !shown.contains(GOOD) && shown.contains("***"));
    let twice = env.clone().with("ROADSTEAD_MESH_SECRET", "another-one-that-is-also-long-enough");
    assert!(problems(ServiceRole::User, &twice).contains("ROADSTEAD_MESH_SECRET and ROADSTEAD_MESH_SECRET_FILE"));
    let missing = base.with("ROADSTEAD_MESH_SECRET_FILE", "/nowhere/x");
    assert!(
        problems(ServiceRole::User, &missing).contains("ROADSTEAD_MESH_SECRET_FILE: names a file that cannot be read")
    );
}

#[test]
fn names_of_kubernetes_services_are_passed_over() {
    let env = mesh()
        .with("ROADSTEAD_SERVER_PORT", "tcp://10.0.0.1:8008")
        .with("ROADSTEAD_CLUSTER_SERVICE_HOST", "10.0.0.1")
        .with("ROADSTEAD_CLUSTER_SERVICE_PORT_HTTP", "8008")
        .with("ROADSTEAD_CLUSTER_PORT_8008_TCP_ADDR", "10.0.0.1")
        .with("RABBITMQ_PORT", "tcp://10.0.0.2:5672")
        .with("MCKMT_REDIS_PORT", "tcp://10.0.0.3:6379");
    let settings = load(ServiceRole::Cluster, &env).unwrap();
    assert_eq!((settings.server.port, settings.rabbitmq.port, settings.redis.port), (8008, 5672, 6379));
}

/// A shell in which somebody logged in, or ran the test clusters, could start neither hub nor agent.
#[test]
fn regression_the_clients_own_variables_are_passed_over() {
    for name in
        ["ROADSTEAD_URL", "ROADSTEAD_API_KEY", "ROADSTEAD_CONFIG", "ROADSTEAD_TEST_FOLDER", "ROADSTEAD_KUBE_CACHE"]
    {
        let env = MapEnv::new([("ROADSTEAD_DEV", "true"), (name, "x")]);
        load(ServiceRole::Up, &env).unwrap_or_else(|faults| panic!("{name}: {faults}"));
    }
}

#[test]
fn files_are_strict() {
    let env = mesh();
    for (yaml, part) in [
        ("server: {prt: 1}", "server.prt in"),
        ("server: {port: {a: 1}}", "server.port in"),
        ("- a", "must hold a mapping"),
        ("a: [", "is not valid YAML at line"),
        ("server: {port: 1}\nserver: {port: 2}", "is not valid YAML"),
        ("database: {name: a, database: b}", "are set to different values"),
        ("auth: {jwt: {secret: canary", "is not valid YAML"),
    ] {
        let fault = with_file(ServiceRole::Cluster, &env, yaml).unwrap_err().to_string();
        assert!(fault.contains(part) && !fault.contains("canary"), "{yaml}: {fault}");
    }
    with_file(ServiceRole::Cluster, &env, "").unwrap();
    let settings = with_file(
        ServiceRole::Cluster,
        &env,
        "compat: {queue_peers: {py: peer, other: peer}}\nserver: {compat_ports: [8007, 8080]}",
    )
    .unwrap();
    assert_eq!(settings.compat.queue_peers.len(), 2);
    assert_eq!(settings.server.compat_ports, [8007, 8080]);
    let env = env.with("MCKMT_CONFIG_FILE", "/nowhere/a.yaml").with("MCKMT_CONFIG_PATH", "/nowhere/b.yaml");
    let fault = problems(ServiceRole::Cluster, &env);
    assert!(fault.contains("name different files") && fault.contains("/nowhere/a.yaml: cannot be read"), "{fault}");
}

#[test]
fn a_database_is_asked_for_where_data_is_kept() {
    let env = MapEnv::new([
        ("ROADSTEAD_MESH_SECRET", GOOD),
        ("RABBITMQ_PASSWORD", "k3y"),
        ("ROADSTEAD_SEAL_MASTER_KEY", SEAL),
    ]);
    load(ServiceRole::Cluster, &env).unwrap();
    assert!(problems(ServiceRole::Onboarding, &env).contains("ROADSTEAD_DATABASE_URL: must be set"));
    let settings = load(ServiceRole::Onboarding, &env.with("DATABASE_URL", "sqlite:/data")).unwrap();
    assert_eq!(settings.database.url_for("onboarding").expose(), "sqlite:/data/onboarding.db");
}

/// Reliability row C03: none is made up in silence.
#[test]
fn c03_a_master_key_is_asked_for_where_something_is_sealed() {
    let without = mesh().with("ROADSTEAD_SEAL_MASTER_KEY", "");
    for role in [ServiceRole::User, ServiceRole::Onboarding, ServiceRole::Operations] {
        assert!(problems(role, &without).contains("ROADSTEAD_SEAL_MASTER_KEY: must be set"), "{role:?}");
        let alias = load(role, &without.clone().with("KUBEOP_KMS_MASTER_KEY", SEAL)).unwrap();
        assert_eq!(alias.seal.master_key.unwrap().expose(), SEAL);
        load(role, &without.clone().with("ROADSTEAD_SEAL_KEYRING_FILE", "/keys")).unwrap();
        let own =
            load(role, &without.clone().with("ROADSTEAD_DEV", "true").with("ROADSTEAD_DATA_DIR", "/data")).unwrap();
        assert_eq!(own.seal.keyring_file.unwrap(), std::path::Path::new("/data/seal-keys"));
    }
    load(ServiceRole::Cluster, &without).unwrap();
    let both = mesh().with("ROADSTEAD_SEAL_KEYRING_FILE", "/keys");
    assert!(problems(ServiceRole::User, &both).contains("contradict each other; set one of them"));
}

#[test]
fn the_strategy_goes_by_the_seeds_name_too() {
    let strategy = |env: &MapEnv| load(ServiceRole::User, env).map(|settings| settings.authorization.strategy);
    assert_eq!(strategy(&mesh()).unwrap(), Strategy::DatabaseRbac);
    for name in ["ROADSTEAD_AUTHORIZATION_STRATEGY", "MCKMT_AUTH_RBAC_STRATEGY"] {
        assert_eq!(strategy(&mesh().with(name, "casbin")).unwrap(), Strategy::Casbin);
        assert!(strategy(&mesh().with(name, "no-auth")).is_err(), "only in development");
        assert_eq!(strategy(&mesh().with(name, "no-auth").with("ROADSTEAD_DEV", "true")).unwrap(), Strategy::NoAuth);
        assert!(strategy(&mesh().with(name, "everybody")).is_err());
    }
    let both =
        mesh().with("ROADSTEAD_AUTHORIZATION_STRATEGY", "casbin").with("MCKMT_AUTH_RBAC_STRATEGY", "database-rbac");
    assert!(strategy(&both).is_err(), "two names that differ");
}

#[test]
fn registration_is_open_on_loopback_and_in_development() {
    let open = |role, env: &MapEnv| load(role, env).unwrap().user.registration;
    assert_eq!(open(ServiceRole::Up, &MapEnv::default()), Registration::Open);
    assert_eq!(open(ServiceRole::Up, &MapEnv::new([("ROADSTEAD_SERVER_HOST", "0.0.0.0")])), Registration::Closed);
    assert_eq!(open(ServiceRole::User, &mesh()), Registration::Closed);
    assert_eq!(open(ServiceRole::User, &mesh().with("ROADSTEAD_DEV", "true")), Registration::Open);
}

#[test]
fn regression_only_ports_are_called_ports() {
    for row in SECTIONS.iter().flat_map(|(_, rows)| rows.iter()) {
        assert_eq!(row.kind == "port", row.key.ends_with("port"), "{} is a {}", row.key, row.kind);
    }
}

#[test]
fn documents_name_every_row_once_and_refuse_to_start_as_they_are() {
    let (example, page) = (docs::env_example(), docs::page());
    for row in SECTIONS.iter().flat_map(|(_, rows)| rows.iter()) {
        assert_eq!(example.matches(&format!("{}=", row.env_name())).count(), 1, "{}", row.env_name());
        for (name, ..) in row.names() {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }
    let pairs = example.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    let fault = problems(ServiceRole::User, &MapEnv::new(pairs));
    assert!(fault.contains("ROADSTEAD_MESH_SECRET") && fault.contains("ROADSTEAD_DATABASE_URL"), "{fault}");
}
