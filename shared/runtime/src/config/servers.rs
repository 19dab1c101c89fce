//! The settings of the servers that the hub itself is a client of: database, broker, key-value store.

use std::path::PathBuf;
use std::time::Duration;

use super::table::{Note, bare, hub, kubesage, mckmt, section, short};
use crate::Secret;

section! {
    /// The database.
    Database "database." {
        /// `postgres://…`, or `sqlite:FOLDER` (one file for each service). Takes the place of the parts below.
        url: Secret = "" [bare("DATABASE_URL")];
        /// PostgreSQL host.
        host: String = "" [hub("database.host")];
        /// PostgreSQL port.
        port: u16 = "5432" [hub("database.port")];
        /// PostgreSQL user.
        user: String = "" [hub("database.user")];
        /// PostgreSQL password.
        password: Secret = "" [Note::Must, hub("database.password")];
        /// PostgreSQL database.
        name: String = "roadstead" [hub("database.database"), mckmt("MCKMT_DATABASE_NAME")];
        /// TLS to PostgreSQL: disable, prefer, require, verify-ca or verify-full.
        ssl_mode: String = "prefer" [hub("database.ssl_mode")];
        /// PEM file of whoever issued PostgreSQL's certificate, trusted besides the public authorities. Set: the mode is
        /// `verify-full` unless `verify-ca` is asked for.
        ca_file: Option<PathBuf> = "";
        /// PEM file of the hub's own certificate for PostgreSQL.
        cert_file: Option<PathBuf> = "";
        /// PEM file of that certificate's private key.
        key_file: Option<PathBuf> = "";
        /// Most connections of a process: three services in two replicas each stay below PostgreSQL's default of 100.
        max_connections: u32 = "12" [hub("database.max_conns")];
        /// Connections kept open; as many as allowed when left out: opening one takes longest in the rush that needs it.
        min_connections: Option<u32> = "" [hub("database.min_conns")];
        /// Longest life of a connection.
        max_lifetime: Duration = "1h" [hub("database.max_conn_life")];
        /// How long an unused connection is kept.
        max_idle: Duration = "30m" [hub("database.max_conn_idle")];
        /// How long a request may wait for a connection.
        acquire_timeout: Duration = "3s";
    }

    /// The message broker.
    Rabbitmq "rabbitmq." {
        /// `amqp://…` or `amqps://…`. Takes the place of the parts below.
        url: Option<Secret> = "" [kubesage("RABBITMQ_URL")];
        /// Host.
        host: String = "localhost" [kubesage("RABBITMQ_HOST")];
        /// Port.
        port: u16 = "5672" [kubesage("RABBITMQ_PORT")];
        /// RabbitMQ user.
        user: String = "guest" [Note::Must, kubesage("RABBITMQ_USER")];
        /// RabbitMQ password.
        password: Secret = "guest" [Note::Must, kubesage("RABBITMQ_PASSWORD")];
        /// Virtual host.
        vhost: String = "/" [kubesage("RABBITMQ_VHOST")];
        /// Whether the connection must be TLS; the files below ask for it as well. The port is 5671 then, unless it is set.
        tls: bool = "false";
        /// PEM file of whoever issued the broker's certificate, trusted besides the system's authorities.
        ca_file: Option<PathBuf> = "";
        /// PEM file of the hub's own certificate for the broker.
        cert_file: Option<PathBuf> = "";
        /// PEM file of that certificate's private key.
        key_file: Option<PathBuf> = "";
    }

    /// The shared key-value store.
    Redis "redis." {
        /// `redis://…` or `rediss://…`. Takes the place of the parts below.
        url: Option<Secret> = "" [short("REDIS_URL")];
        /// Host.
        host: String = "localhost" [hub("redis.host")];
        /// Port.
        port: u16 = "6379" [hub("redis.port")];
        /// Redis password; empty when it asks for none.
        password: Secret = "" [Note::Must, hub("redis.password")];
        /// Database number.
        db: u32 = "0" [hub("redis.db")];
        /// Most connections of a process.
        pool_size: u32 = "10" [hub("redis.pool_size")];
        /// Whether the connection must be TLS; the files below ask for it as well.
        tls: bool = "false";
        /// PEM file of whoever issued Redis' certificate, trusted instead of the system's authorities.
        ca_file: Option<PathBuf> = "";
        /// PEM file of the hub's own certificate for Redis.
        cert_file: Option<PathBuf> = "";
        /// PEM file of that certificate's private key.
        key_file: Option<PathBuf> = "";
    }
}
