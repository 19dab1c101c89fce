//! Names of the fields of log lines and spans. The message of a line reads alone; a key value in it is also a field.

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*
        /// Every field.
        pub const ALL: &[&str] = &[$($name,)*];
    };
}

names! {
    /// Service that writes the line.
    SERVICE = "service";
    /// Replica of that service.
    REPLICA = "replica";
    /// Request id, the same in every service.
    REQUEST_ID = "request_id";
    /// W3C trace id.
    TRACE_ID = "trace_id";
    /// Account.
    USER_ID = "user_id";
    /// Cluster.
    CLUSTER_ID = "cluster_id";
    /// Cluster's name.
    CLUSTER_NAME = "cluster_name";
    /// Agent.
    AGENT_ID = "agent_id";
    /// Join token (the public half).
    JOIN_TOKEN_ID = "join_token_id";
    /// API key (the public half).
    API_KEY_ID = "api_key_id";
    /// Session of an agent.
    EPOCH = "epoch";
    /// Queue.
    QUEUE = "queue";
    /// Kind of a message.
    KIND = "kind";
    /// Message on the bus.
    MESSAGE_ID = "message_id";
    /// HTTP method.
    METHOD = "method";
    /// Route template, never the path as sent.
    ROUTE = "route";
    /// HTTP status.
    STATUS = "status";
    /// Error code of the table.
    CODE = "code";
    /// How long it took, milliseconds.
    DURATION_MS = "duration_ms";
    /// Why, in one word.
    REASON = "reason";
    /// Name of a task.
    TASK = "task";
}
