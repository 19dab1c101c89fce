-- What a role is called. What it may do is in the program: `contracts::identity::Role`.
CREATE TABLE roles (
    name           TEXT    PRIMARY KEY,
    id             BLOB    NOT NULL UNIQUE,
    description    TEXT    NOT NULL,
    created_at     TEXT    NOT NULL
) STRICT;
INSERT INTO roles (name, id, description, created_at) VALUES
    ('viewer',   x'0198c5b0000070008000000000000001', 'Reads what was granted', '2026-01-01T00:00:00+00:00'),
    ('operator', x'0198c5b0000070008000000000000002', 'Changes what was granted', '2026-01-01T00:00:00+00:00'),
    ('admin',    x'0198c5b0000070008000000000000003', 'Everything, every cluster', '2026-01-01T00:00:00+00:00');

CREATE TABLE users (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    id             BLOB    NOT NULL UNIQUE,
    username       TEXT    NOT NULL UNIQUE,
    email          TEXT    NOT NULL UNIQUE,
    first_name     TEXT    ,
    last_name      TEXT    ,
    auth_source    TEXT    NOT NULL DEFAULT 'password',
    password_hash  TEXT    ,
    active         INTEGER NOT NULL DEFAULT 1,
    created_at     TEXT    NOT NULL,
    updated_at     TEXT    NOT NULL
) STRICT;

CREATE TABLE user_roles (
    user_id        BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role           TEXT    NOT NULL REFERENCES roles (name),
    assigned_at    TEXT    NOT NULL,
    assigned_by    BLOB    ,
    PRIMARY KEY (user_id, role)
) STRICT;
CREATE INDEX user_roles_role_index ON user_roles (role);

CREATE TABLE user_clusters (
    user_id        BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    cluster_id     BLOB    NOT NULL,
    granted_at     TEXT    NOT NULL,
    granted_by     BLOB    ,
    PRIMARY KEY (user_id, cluster_id)
) STRICT;
CREATE INDEX user_clusters_cluster_index ON user_clusters (cluster_id);

-- A login. Its token pairs are one family: reuse of an old one ends the session.
CREATE TABLE sessions (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    id             BLOB    NOT NULL UNIQUE,
    user_id        BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    source         TEXT    ,
    user_agent     TEXT    ,
    device         TEXT    ,
    created_at     TEXT    NOT NULL,
    last_used_at   TEXT    NOT NULL,
    expires_at     TEXT    NOT NULL,
    revoked_at     TEXT    ,
    revoked_reason TEXT
) STRICT;
CREATE INDEX sessions_user_index ON sessions (user_id, seq);
CREATE INDEX sessions_expires_index ON sessions (expires_at);

-- An access token and the refresh token issued with it.
CREATE TABLE token_pairs (
    id             BLOB    PRIMARY KEY,
    session_id     BLOB    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    refresh_digest TEXT    NOT NULL,
    expires_at     TEXT    NOT NULL,
    created_at     TEXT    NOT NULL,
    access_used_at TEXT    ,
    refreshed_at   TEXT    ,
    successor      BLOB    ,
    revoked_at     TEXT
) STRICT;
CREATE INDEX token_pairs_session_index ON token_pairs (session_id);

CREATE TABLE api_keys (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    id             BLOB    NOT NULL UNIQUE,
    user_id        BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name           TEXT    NOT NULL,
    digest         TEXT    NOT NULL UNIQUE,
    legacy         INTEGER NOT NULL DEFAULT 0,
    preview        TEXT    NOT NULL,
    active         INTEGER NOT NULL DEFAULT 1,
    expires_at     TEXT    ,
    last_used_at   TEXT    ,
    created_at     TEXT    NOT NULL,
    updated_at     TEXT    NOT NULL,
    UNIQUE (user_id, name)
) STRICT;

-- One row: which key file this database belongs to.
CREATE TABLE hub (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    root           TEXT    NOT NULL
) STRICT;
