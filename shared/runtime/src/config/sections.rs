//! Every setting of the hub's processes. A row: documentation, type, default, and the other names it goes by.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::ServiceRole;
use super::table::{Note, bare, hub, kubeop, kubesage, mckmt, minutes, only, section, short, up};
use super::value::{Bytes, DefaultRole, JwtAlgorithm, Leaked, LogFormat, LogLevel, Registration, Strategy};
use crate::Secret;

section! {
    /// What every process has.
    General "" {
        /// Folder for what the process keeps: SQLite files, keys it makes itself. With `up` `--data` names it, else it is
        /// `roadstead` under the user's data folder.
        data_dir: PathBuf = "/var/lib/roadstead" [up("")];
        /// For development only: sample secrets are accepted, registration is open, every account sees every cluster.
        dev: bool = "false";
    }

    /// The doors of the hub.
    Server "server." {
        /// Address the front door listens on.
        host: IpAddr = "0.0.0.0" [up("127.0.0.1"), only("HOST", ServiceRole::Cluster), hub("server.host")];
        /// Port of the front door: REST, OpenAPI, health.
        port: u16 = "8008" [only("PORT", ServiceRole::Cluster), hub("server.port")];
        /// Address the Kubernetes door listens on. Left out: the front door's.
        kubernetes_host: Option<IpAddr> = "";
        /// Port of the Kubernetes door: every cluster's API under `/k/<cluster>`. It needs TLS.
        kubernetes_port: u16 = "8443";
        /// Address of the Kubernetes door as clients reach it, for kubeconfigs.
        kubernetes_public_url: Option<String> = "" [short("ROADSTEAD_KUBERNETES_PUBLIC_URL")];
        /// Address the agents' door listens on.
        agent_host: IpAddr = "0.0.0.0" [up("127.0.0.1"), only("HOST", ServiceRole::Onboarding)];
        /// Port of the agents' door.
        agent_port: u16 = "8007" [only("PORT", ServiceRole::Onboarding)];
        /// Address on which a replica that holds agents takes streams of the other services.
        replica_host: IpAddr = "0.0.0.0" [up("127.0.0.1")];
        /// Port of it.
        replica_port: u16 = "8009";
        /// Host, or host and port, under which the other services reach this replica. Left out: the address of this machine
        /// on the way to the broker.
        replica_address: Option<String> = "";
        /// More ports on which the front door answers, for clients of the seeds that were told 8007 or 8080.
        compat_ports: Vec<u16> = "" [short("COMPAT_PORTS")];
        /// Address of the front door as clients reach it, for links and join lines.
        public_url: Option<String> = "" [short("ROADSTEAD_PUBLIC_URL")];
        /// Address of the agents' door as agents reach it.
        agent_public_url: Option<String> = "" [short("ROADSTEAD_AGENT_PUBLIC_URL")];
        /// Proxies whose forwarding headers are believed.
        trusted_proxies: Vec<IpNet> = "" [short("ROADSTEAD_TRUSTED_PROXIES")];
        /// How long a client may take to send its request.
        read_timeout: Duration = "30s" [hub("server.read_timeout")];
        /// How long running work may go on after a stop signal.
        shutdown_grace: Duration = "20s";
        /// Largest request body, uploads excepted.
        body_limit: Bytes = "1MiB";
        /// Most bytes of all request bodies that a process holds at once, uploads among them; an eighth is for small ones. Who
        /// finds no room within two seconds is refused (503). What is made of them takes memory beside it.
        bodies_limit: Bytes = "32MiB";
    }

    /// TLS of the front door and the agents' door.
    Tls "tls." {
        /// Whether the doors speak TLS.
        enabled: bool = "false" [kubesage("USE_SSL"), hub("server.tls.enabled")];
        /// PEM file of the private key.
        key_file: PathBuf = "key.pem" [kubesage("SSL_KEYFILE"), hub("server.tls.key_file")];
        /// PEM file of the certificate chain, leaf first.
        cert_file: PathBuf = "cert.pem" [kubesage("SSL_CERTFILE"), hub("server.tls.cert_file")];
        /// PEM file of the Kubernetes door's own key, where a proxy ends TLS for the others. Left out: the one above, when the
        /// doors speak TLS.
        kubernetes_key_file: Option<PathBuf> = "";
        /// PEM file of the Kubernetes door's own certificate chain.
        kubernetes_cert_file: Option<PathBuf> = "";
        /// PEM file of whoever issued that certificate, put into kubeconfigs. Left out: a public authority.
        kubernetes_ca_file: Option<PathBuf> = "";
    }

    /// The user service.
    User "user." {
        /// Where the other services find its HTTP.
        url: String = "http://localhost:8001" [kubesage("USER_SERVICE_URL")];
        /// Address its HTTP listens on.
        host: IpAddr = "0.0.0.0" [up("127.0.0.1"), only("HOST", ServiceRole::User)];
        /// Port of its HTTP.
        port: u16 = "8001" [up("0"), only("PORT", ServiceRole::User)];
        /// Who may make an account.
        registration: Registration = "auto";
        /// Role of a new account.
        default_role: DefaultRole = "viewer" [hub("auth.rbac.default_role")];
    }

    /// The operations service.
    Operations "operations." {
        /// Address its health listener has.
        host: IpAddr = "0.0.0.0" [up("127.0.0.1"), only("HOST", ServiceRole::Operations)];
        /// Port of its health listener.
        port: u16 = "8010" [up("0"), only("PORT", ServiceRole::Operations)];
        /// Address at which it takes manifests from the other services (mutual TLS from the mesh secret).
        relay_host: IpAddr = "0.0.0.0" [up("127.0.0.1")];
        /// Port of that.
        relay_port: u16 = "8011";
        /// Host, or host and port, under which the other services reach that. Left out: the address of this machine on the way
        /// to the broker.
        relay_address: Option<String> = "";
        /// Operations that one process carries at once.
        at_once: u32 = "256";
        /// Operations at once in one cluster and namespace. With one, changes come in the order in which they were asked for.
        per_namespace: u32 = "1";
        /// How long an operation may take when its caller does not say, waiting for its agent included.
        deadline: Duration = "1h";
        /// How long an ended operation is kept at least.
        retention: Duration = "365d";
        /// How long after its end an operation is deleted by itself, with all that is kept of it; a rollout likewise, after its
        /// operations. Not shorter than the retention. Left out: never.
        delete_after: Option<Duration> = "";
        /// Key of the signatures of webhooks, at least 32 characters. Without one no operation takes a webhook.
        webhook_secret: Option<Secret> = "";
    }

    /// Rights that are asked for and given for a while.
    Access "access." {
        /// Longest time for which they are given.
        max_duration: Duration = "8h";
        /// How long nobody may decide on a request until it is void.
        request_lifetime: Duration = "24h";
        /// Address of a chat's webhook that is told who asks for what, and what was decided. Needs the key below.
        webhook_url: Option<Secret> = "";
        /// Key of the signatures of what it is told, at least 32 characters.
        webhook_secret: Option<Secret> = "";
    }

    /// Access and refresh tokens.
    Jwt "auth.jwt." {
        /// How access tokens are signed. Left out: `hs256` when a secret is set (as the seeds do), else `eddsa`.
        algorithm: JwtAlgorithm = "eddsa" [kubesage("JWT_ALGORITHM"), mckmt("MCKMT_JWT_ALGORITHM")];
        /// Shared secret of `hs256`, at least 32 bytes.
        secret: Option<Secret> = "" [hub("auth.jwt.secret"), mckmt("MCKMT_JWT_SECRET"), kubesage("JWT_SECRET_KEY")];
        /// Life of an access token.
        expiration: Duration = "1h" [
            hub("auth.jwt.expiration"), mckmt("MCKMT_JWT_EXPIRATION"), minutes("JWT_ACCESS_TOKEN_EXPIRE_MINUTES")
        ];
        /// Life of a refresh token.
        refresh_expiration: Duration = "7d";
        /// Issuer claim, set and checked.
        issuer: String = "roadstead" [hub("auth.jwt.issuer"), mckmt("MCKMT_JWT_ISSUER")];
        /// Audience claim, set and checked.
        audience: String = "roadstead" [hub("auth.jwt.audience"), mckmt("MCKMT_JWT_AUDIENCE")];
    }

    /// Who may do what.
    Authorization "authorization." {
        /// What the permission words of roles are asked of. Rules of the policy count with each but `no-auth`, with which
        /// everybody may do everything and which only starts under `dev`.
        strategy: Strategy = "database-rbac" [hub("auth.rbac.strategy")];
        /// File of the model for `casbin`. Left out: the one of seed 000. It may only allow: what denies are rules.
        casbin_model_file: Option<PathBuf> = "" [hub("auth.rbac.casbin.model_file")];
        /// File of more lines for `casbin`: `p, SUBJECT, OBJECT, ACT` and `g, USER, ROLE`. Read again when it changes. A line
        /// that cannot be read denies everything.
        casbin_policy_file: Option<PathBuf> = "" [hub("auth.rbac.casbin.policy_file")];
    }

    /// What a password must be.
    PasswordRules "auth.password." {
        /// Whether people log in with a password at all.
        enabled: bool = "true" [hub("auth.password.enabled")];
        /// Fewest characters.
        min_length: usize = "8" [hub("auth.password.min_length")];
        /// Whether passwords from known leaks are refused: `true`, `false`, or `auto` (not on loopback and under `dev`, where
        /// the samples of documents are tried).
        refuse_leaked: Leaked = "auto";
        /// Asks for an upper-case letter.
        require_uppercase: bool = "false" [hub("auth.password.require_uppercase")];
        /// Asks for a lower-case letter.
        require_lowercase: bool = "false" [hub("auth.password.require_lowercase")];
        /// Asks for a digit.
        require_numbers: bool = "false" [hub("auth.password.require_numbers")];
        /// Asks for a character that is neither letter nor digit.
        require_special_chars: bool = "false" [hub("auth.password.require_special_chars")];
    }

    /// Single sign-on: an identity provider that speaks OpenID Connect.
    Oidc "auth.oidc." {
        /// Whether people log in through it.
        enabled: bool = "false" [hub("auth.oidc.enabled")];
        /// Its name in links and on the command line.
        name: String = "sso";
        /// Its name for people.
        title: String = "Single sign-on";
        /// Its address, exactly as its own tokens say it.
        issuer: String = "" [hub("auth.oidc.issuer")];
        /// Who the hub is to it.
        client_id: String = "" [hub("auth.oidc.client_id")];
        /// The hub's secret there. Left out: a public client, which PKCE protects.
        client_secret: Option<Secret> = "" [hub("auth.oidc.client_secret")];
        /// Where it sends people back to. Left out: `/api/v1/auth/oidc/callback` under the hub's public address.
        redirect_url: Option<String> = "" [hub("auth.oidc.redirect_url")];
        /// What is asked for, separated by commas or spaces.
        scopes: String = "openid,profile,email" [hub("auth.oidc.scopes")];
        /// Claim that lists groups; a dot goes one object down (`realm_access.roles`).
        groups_claim: String = "groups";
        /// Claim that lists roles.
        roles_claim: String = "roles";
        /// Role here for a group or role there, by its exact name (`platform-admins=admin, everyone=viewer`). Set: roles
        /// come with each login. Left out: new accounts get the default role, an admin gives others.
        role_map: BTreeMap<String, String> = "";
        /// Refuse whoever has no group or role in the map.
        require_role: bool = "false";
        /// Refuse whose e-mail address the provider does not call verified.
        require_verified_email: bool = "true";
        /// Take a person with the verified address of an account here for its owner, once. Left out, an admin links.
        link_by_email: bool = "false";
        /// YAML file with more providers, a list of these settings.
        providers_file: Option<PathBuf> = "";
    }

    /// The first admin, and the keys.
    Bootstrap "auth." {
        /// Lets whoever holds it make the first admin, until there is one.
        bootstrap_token: Option<Secret> = "" [Note::Must, short("ROADSTEAD_BOOTSTRAP_TOKEN")];
        /// File of the user service's private keys, the same for every replica; made when it is not there. Left out:
        /// `identity-keys.json` in the data folder.
        identity_key_file: Option<PathBuf> = "";
    }

    /// Secrets in the databases.
    Seal "seal." {
        /// Master key with which secrets in the databases are sealed: base64 of 32 bytes (`openssl rand -base64 32`).
        master_key: Option<Secret> = "" [Note::Must, kubeop("KUBEOP_KMS_MASTER_KEY")];
        /// File of several master keys, one a line as `VERSION:BASE64`; the highest version seals. Takes the place of the
        /// single key. Left out: with `up` and in development `seal-keys` in the data folder, made when it is not there.
        keyring_file: Option<PathBuf> = "";
    }

    /// The audit trail.
    Audit "audit." {
        /// How long rows are kept. Left out: for ever. Older ones are removed up to a signed checkpoint, so that the rest can be
        /// verified.
        retention: Option<Duration> = "";
        /// A checkpoint is signed after so many rows.
        checkpoint_rows: u32 = "1000";
        /// A checkpoint is signed so long after a row that none covers.
        checkpoint_every: Duration = "1m";
        /// PEM file of the Ed25519 key that signs checkpoints, the same for every replica. Left out: a key that follows from the
        /// user service's key file.
        checkpoint_key_file: Option<PathBuf> = "";
        /// File that each signed checkpoint is appended to, to be shipped out. They are in the log, too.
        checkpoint_file: Option<PathBuf> = "";
        /// Folder in which the front door keeps records until the user service has them. Left out: `audit-spool` in the data
        /// folder.
        spool_dir: Option<PathBuf> = "";
        /// Most bytes kept there; beyond them nothing that must be recorded is done.
        spool_limit: Bytes = "16MiB";
        /// Receiver of the trail as syslog (RFC 5424): `tcp://host:601` or `tls://host:6514`.
        syslog_url: Option<String> = "";
        /// PEM file of whoever issued the receiver's certificate, trusted instead of the system's authorities.
        syslog_ca_file: Option<PathBuf> = "";
        /// PEM file of the hub's own certificate for it.
        syslog_cert_file: Option<PathBuf> = "";
        /// PEM file of that certificate's private key.
        syslog_key_file: Option<PathBuf> = "";
        /// Collector that takes the trail as logs of OTLP over HTTP, `http://collector:4318`.
        otlp_endpoint: Option<String> = "";
        /// PEM file of whoever issued the collector's certificate, trusted instead of the system's authorities.
        otlp_ca_file: Option<PathBuf> = "";
        /// Credential for the collector, sent as a bearer token.
        otlp_token: Option<Secret> = "";
    }

    /// Quotas.
    RateLimit "rate_limit." {
        /// Whether quotas are kept at all.
        enabled: bool = "true" [kubesage("RATE_LIMIT_ENABLED")];
        /// Requests a minute on the routes of the seeds.
        requests_per_minute: u32 = "60" [kubesage("RATE_LIMIT_REQUESTS_PER_MINUTE")];
        /// Requests a minute on `/api/v1`.
        api_per_minute: u32 = "1200";
        /// Logins a minute for each account and source.
        login_per_minute: u32 = "10";
        /// Seed 001: agent ids made in a minute.
        generate_agent_id_per_minute: u32 = "10";
        /// Seed 001: clusters onboarded in a minute.
        onboard_per_minute: u32 = "5";
    }

    /// The agents' sessions.
    Agents "agents." {
        /// How often an agent says how its cluster is.
        heartbeat_interval: Duration = "10s";
        /// Silence after which an agent counts as gone.
        offline_after: Duration = "20s";
        /// Agents let in each second; the others are told when to come back.
        admit_per_second: u32 = "1000";
        /// How long a handshake may take.
        handshake_timeout: Duration = "10s";
        /// How long a question to an agent may take.
        request_timeout: Duration = "30s" [kubesage("WEBSOCKET_TIMEOUT")];
        /// Most sessions of one process.
        max_sessions: u32 = "20000";
        /// Image of the agent in import manifests.
        image: String = "roadstead/agent:0.1.0";
    }

    /// What the services share.
    Mesh "mesh." {
        /// Signs the services' messages and calls to each other, at least 32 bytes, the same everywhere.
        secret: Option<Secret> = "" [Note::Must];
        /// PEM file of whoever issued the services' certificates. Set, with the two below: the user service's HTTP speaks TLS and
        /// asks its callers for a certificate, and the front door shows one.
        ca_file: Option<PathBuf> = "";
        /// PEM file of the service's own certificate chain, leaf first.
        cert_file: Option<PathBuf> = "";
        /// PEM file of that certificate's private key.
        key_file: Option<PathBuf> = "";
        /// Names (DNS, URI, address) of which a caller's certificate must carry one. Left out: any of that authority.
        client_names: Vec<String> = "";
    }

    /// Clients of the seeds.
    Compat "compat." {
        /// Broker users that may ask on the seeds' queues without our signature, each with the account it stands for.
        queue_peers: BTreeMap<String, String> = "";
    }

    /// Log lines.
    Logging "logging." {
        /// Least level.
        level: LogLevel = "info" [hub("logging.level")];
        /// How lines look.
        format: LogFormat = "json" [up("auto"), hub("logging.format")];
        /// Raises the level to `debug` (it means nothing else: see `dev`).
        debug: bool = "false" [bare("DEBUG")];
    }

    /// Prometheus metrics.
    Metrics "metrics." {
        /// Whether they are shown.
        enabled: bool = "true" [hub("metrics.enabled")];
        /// Port of a listener that serves nothing else; 0 = none but the doors' own `/metrics`.
        port: u16 = "9091" [up("0"), hub("metrics.port")];
        /// PEM file of that listener's certificate chain. Set, with its key: each service shows its figures there by TLS, and
        /// nowhere else.
        cert_file: Option<PathBuf> = "";
        /// PEM file of that certificate's private key.
        key_file: Option<PathBuf> = "";
        /// PEM file of whoever issued the scrapers' certificates; set, who shows none gets no figures.
        client_ca_file: Option<PathBuf> = "";
        /// Names (DNS, URI, address) of which a scraper's certificate must carry one. Left out: any of that authority.
        client_names: Vec<String> = "";
    }

    /// Traces.
    Telemetry "telemetry." {
        /// Collector that takes OTLP over HTTP, `http://collector:4318`.
        otlp_endpoint: Option<String> = "" [short("OTEL_EXPORTER_OTLP_ENDPOINT")];
    }

    /// Addresses that callers name.
    Outgoing "outgoing." {
        /// Ranges that may be dialled besides what the policy allows; metadata addresses never.
        allow: Vec<IpNet> = "";
    }

    /// Recorded sessions: what `exec` and `attach` show.
    Recording "recording." {
        /// Whether sessions are recorded. One that cannot be recorded is refused.
        enabled: bool = "false";
        /// Only in clusters with all of these labels, `key=value`; left out: in every one.
        labels: BTreeMap<String, String> = "";
        /// Whether what people type is recorded too, passwords among it. What the terminal echoes is recorded anyway.
        input: bool = "false";
        /// Longest recording; a session that goes on beyond it is ended.
        session_limit: Bytes = "64MiB";
        /// Most recordings that are kept; the oldest go first.
        max_sessions: u32 = "10000";
        /// How long a recording is kept.
        retention: Duration = "30d";
    }
}

/// Accounts' credentials.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Single sign-on.
    pub oidc: Oidc,
    /// Access and refresh tokens.
    pub jwt: Jwt,
    /// What a password must be.
    pub password: PasswordRules,
    /// Lets whoever holds it make the first admin, until there is one.
    pub bootstrap_token: Option<Secret>,
    /// File of the user service's private keys.
    pub identity_key_file: Option<PathBuf>,
}

/// Names of the seeds that are understood and have no effect (yet), so that their files and environments load; whoever
/// sets one is told. Paths of seed 000's hub file (and so `MCKMT_<PATH>`), then variables.
pub(super) const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("server.write_timeout", "answers are bounded by each request's deadline"),
    ("server.idle_timeout", "kept-alive connections are bounded by the server"),
    ("grpc.host", "agents dial the WebSocket door"),
    ("grpc.port", "agents dial the WebSocket door"),
    ("grpc.read_timeout", "agents dial the WebSocket door"),
    ("grpc.write_timeout", "agents dial the WebSocket door"),
    ("grpc.idle_timeout", "agents dial the WebSocket door"),
    ("grpc.tls.enabled", "agents dial the WebSocket door"),
    ("grpc.tls.cert_file", "agents dial the WebSocket door"),
    ("grpc.tls.key_file", "agents dial the WebSocket door"),
    ("redis.max_retries", "a failed call is answered at once"),
    ("orchestrator.workers", "a process carries as many as operations.at_once says"),
    ("auth.rbac.enabled", "authorization is always on"),
    ("auth.rbac.casbin.enabled", "the strategy decides, see authorization.strategy"),
    ("auth.rbac.casbin.auto_reload", "files are read again when they change"),
    ("auth.rbac.casbin.reload_interval", "files are read again when they change"),
    ("agent.hub_url", "agents have a file of their own"),
    ("agent.agent_id", "agents have a file of their own"),
    ("agent.cluster_id", "agents have a file of their own"),
    ("agent.heartbeat_interval", "the hub tells its agents, see agents.heartbeat_interval"),
    ("agent.operation_timeout", "each operation has its deadline, see operations.deadline"),
    ("logging.caller", "log lines carry their target"),
    ("logging.stacktrace", "log lines carry the chain of causes"),
    ("logging.output_paths", "logs go to standard error"),
    ("logging.error_output_paths", "logs go to standard error"),
    ("metrics.path", "metrics are at /metrics and /api/v1/metrics"),
];

/// Variables without effect, as [`WITHOUT_EFFECT`].
pub(super) const VARIABLES_WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("LLM_ENABLED", "analysis with a language model is not in this version"),
    ("LLM_API_URL", "analysis with a language model is not in this version"),
    ("LLM_API_KEY", "analysis with a language model is not in this version"),
    ("PROMETHEUS_URL", "usage figures are not in this version"),
];
