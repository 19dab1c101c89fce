-- Passkeys and security keys of accounts: the public half, and what a sign-in is compared with. Nothing here is secret.
CREATE TABLE passkeys (
    id              BLOB    PRIMARY KEY,
    user_id         BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    credential_id   TEXT    NOT NULL UNIQUE,
    public_key      BLOB    NOT NULL,
    name            TEXT    NOT NULL,
    transports      TEXT    NOT NULL,
    sign_count      INTEGER NOT NULL,
    backup_eligible INTEGER NOT NULL,
    backed_up       INTEGER NOT NULL,
    created_at      TEXT    NOT NULL,
    last_used_at    TEXT,
    UNIQUE (user_id, name)
) STRICT;

-- A challenge that was given out, as a sealed digest. It is taken once.
CREATE TABLE passkey_ceremonies (
    challenge  TEXT PRIMARY KEY,
    purpose    TEXT NOT NULL,
    user_id    BLOB REFERENCES users (id) ON DELETE CASCADE,
    binding    TEXT NOT NULL,
    expires_at TEXT NOT NULL
) STRICT;
CREATE INDEX passkey_ceremonies_expires_index ON passkey_ceremonies (expires_at);
CREATE INDEX passkey_ceremonies_user_index ON passkey_ceremonies (user_id);
