-- What a role is called. What it may do is in the program: `contracts::identity::Role`.
CREATE TABLE roles (
    name        text        PRIMARY KEY,
    id          uuid        NOT NULL UNIQUE,
    description text        NOT NULL,
    created_at  timestamptz NOT NULL
);
INSERT INTO roles (name, id, description, created_at) VALUES
    ('viewer',   '0198c5b0-0000-7000-8000-000000000001', 'Reads what was granted', '2026-01-01T00:00:00Z'),
    ('operator', '0198c5b0-0000-7000-8000-000000000002', 'Changes what was granted', '2026-01-01T00:00:00Z'),
    ('admin',    '0198c5b0-0000-7000-8000-000000000003', 'Everything, every cluster', '2026-01-01T00:00:00Z');

CREATE TABLE users (
    seq           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id            uuid        NOT NULL UNIQUE,
    username      text        NOT NULL UNIQUE,
    email         text        NOT NULL UNIQUE,
    first_name    text,
    last_name     text,
    auth_source   text        NOT NULL DEFAULT 'password',
    password_hash text,
    active        boolean     NOT NULL DEFAULT true,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL
);

CREATE TABLE user_roles (
    user_id     uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role        text        NOT NULL REFERENCES roles (name),
    assigned_at timestamptz NOT NULL,
    assigned_by uuid,
    PRIMARY KEY (user_id, role)
);
CREATE INDEX user_roles_role_index ON user_roles (role);

CREATE TABLE user_clusters (
    user_id    uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    cluster_id uuid        NOT NULL,
    granted_at timestamptz NOT NULL,
    granted_by uuid,
    PRIMARY KEY (user_id, cluster_id)
);
CREATE INDEX user_clusters_cluster_index ON user_clusters (cluster_id);

-- A login. Its token pairs are one family: reuse of an old one ends the session.
CREATE TABLE sessions (
    seq            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id             uuid        NOT NULL UNIQUE,
    user_id        uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    source         text,
    user_agent     text,
    device         text,
    created_at     timestamptz NOT NULL,
    last_used_at   timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    revoked_at     timestamptz,
    revoked_reason text
);
CREATE INDEX sessions_user_index ON sessions (user_id, seq);
CREATE INDEX sessions_expires_index ON sessions (expires_at);

-- An access token and the refresh token issued with it.
CREATE TABLE token_pairs (
    id             uuid        PRIMARY KEY,
    session_id     uuid        NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    refresh_digest text        NOT NULL,
    expires_at     timestamptz NOT NULL,
    created_at     timestamptz NOT NULL,
    access_used_at timestamptz,
    refreshed_at   timestamptz,
    successor      uuid,
    revoked_at     timestamptz
);
CREATE INDEX token_pairs_session_index ON token_pairs (session_id);

CREATE TABLE api_keys (
    seq          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           uuid        NOT NULL UNIQUE,
    user_id      uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         text        NOT NULL,
    digest       text        NOT NULL UNIQUE,
    legacy       boolean     NOT NULL DEFAULT false,
    preview      text        NOT NULL,
    active       boolean     NOT NULL DEFAULT true,
    expires_at   timestamptz,
    last_used_at timestamptz,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    UNIQUE (user_id, name)
);

-- One row: which key file this database belongs to.
CREATE TABLE hub (
    id   integer PRIMARY KEY CHECK (id = 1),
    root text    NOT NULL
);
