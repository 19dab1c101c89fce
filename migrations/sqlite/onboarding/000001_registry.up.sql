CREATE TABLE clusters (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           BLOB    NOT NULL UNIQUE,
    name         TEXT    NOT NULL UNIQUE,
    description  TEXT    NOT NULL DEFAULT '',
    labels       TEXT    NOT NULL DEFAULT '{}',
    mode         TEXT    NOT NULL CHECK (mode IN ('agent', 'hosted')),
    owner_id     BLOB,
    owner_seq    INTEGER NOT NULL DEFAULT 0,
    facts        TEXT    NOT NULL DEFAULT '{}',
    details      TEXT,
    last_seen_at TEXT,
    created_at   TEXT    NOT NULL,
    updated_at   TEXT    NOT NULL
) STRICT;
CREATE INDEX clusters_owner ON clusters (owner_id);

CREATE TABLE agents (
    seq               INTEGER PRIMARY KEY AUTOINCREMENT,
    id                BLOB    NOT NULL UNIQUE,
    cluster_id        BLOB    REFERENCES clusters (id) ON DELETE CASCADE,
    owner_id          BLOB,
    kind              TEXT    NOT NULL CHECK (kind IN ('tunnel', 'seed', 'hosted')),
    public_key        TEXT    UNIQUE,
    join_token_id     BLOB,
    profile           TEXT    NOT NULL,
    version           TEXT,
    revoked_at        TEXT,
    connected_replica BLOB,
    epoch             INTEGER NOT NULL DEFAULT 0,
    connected_at      TEXT,
    last_seen_at      TEXT,
    created_at        TEXT    NOT NULL
) STRICT;
CREATE INDEX agents_cluster ON agents (cluster_id);
CREATE INDEX agents_replica ON agents (connected_replica) WHERE connected_replica IS NOT NULL;

CREATE TABLE join_tokens (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         BLOB    NOT NULL UNIQUE,
    digest     TEXT    NOT NULL,
    cluster_id BLOB    REFERENCES clusters (id) ON DELETE CASCADE,
    owner_id   BLOB    NOT NULL,
    owner_seq  INTEGER NOT NULL,
    labels     TEXT    NOT NULL DEFAULT '{}',
    profile    TEXT    NOT NULL,
    uses_left  INTEGER NOT NULL CHECK (uses_left >= 0),
    expires_at TEXT    NOT NULL,
    revoked_at TEXT,
    created_at TEXT    NOT NULL
) STRICT;
CREATE INDEX join_tokens_owner ON join_tokens (owner_id);
CREATE INDEX join_tokens_cluster ON join_tokens (cluster_id);

-- Replicas that are alive: an agent counts as connected while its replica was seen a moment ago.
CREATE TABLE replicas (
    id      BLOB NOT NULL PRIMARY KEY,
    seen_at TEXT NOT NULL
) STRICT;

-- Answers to changes that were done already, for messages that are delivered twice.
CREATE TABLE handled (
    message_id BLOB NOT NULL PRIMARY KEY,
    reply      TEXT NOT NULL,
    at         TEXT NOT NULL
) STRICT;
CREATE INDEX handled_at ON handled (at);
