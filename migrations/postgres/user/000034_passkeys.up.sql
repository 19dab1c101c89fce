-- Passkeys and security keys of accounts: the public half, and what a sign-in is compared with. Nothing here is secret.
CREATE TABLE passkeys (
    id              uuid        PRIMARY KEY,
    user_id         uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    credential_id   text        NOT NULL UNIQUE,
    public_key      bytea       NOT NULL,
    name            text        NOT NULL,
    transports      text        NOT NULL,
    sign_count      bigint      NOT NULL,
    backup_eligible boolean     NOT NULL,
    backed_up       boolean     NOT NULL,
    created_at      timestamptz NOT NULL,
    last_used_at    timestamptz,
    UNIQUE (user_id, name)
);

-- A challenge that was given out, as a sealed digest. It is taken once.
CREATE TABLE passkey_ceremonies (
    challenge  text        PRIMARY KEY,
    purpose    text        NOT NULL,
    user_id    uuid        REFERENCES users (id) ON DELETE CASCADE,
    binding    text        NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX passkey_ceremonies_expires_index ON passkey_ceremonies (expires_at);
CREATE INDEX passkey_ceremonies_user_index ON passkey_ceremonies (user_id);
