-- A link with which somebody sets a new password, once.
CREATE TABLE password_resets (
    id         BLOB        PRIMARY KEY,
    user_id    BLOB        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    digest     TEXT        NOT NULL,
    created_by BLOB        NOT NULL,
    expires_at TEXT NOT NULL,
    used_at    TEXT
) STRICT;
CREATE INDEX password_resets_user_index ON password_resets (user_id);

-- The authenticator app of an account; the secret is sealed. Not confirmed = not asked for yet.
CREATE TABLE authenticators (
    user_id      BLOB        PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    sealed_secret TEXT       NOT NULL,
    confirmed_at TEXT,
    last_step    INTEGER      NOT NULL DEFAULT 0,
    created_at   TEXT NOT NULL
) STRICT;

CREATE TABLE recovery_codes (
    user_id BLOB        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    digest  TEXT        NOT NULL,
    used_at TEXT,
    PRIMARY KEY (user_id, digest)
) STRICT;
