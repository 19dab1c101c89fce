-- A link with which somebody sets a new password, once.
CREATE TABLE password_resets (
    id         uuid        PRIMARY KEY,
    user_id    uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    digest     text        NOT NULL,
    created_by uuid        NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX password_resets_user_index ON password_resets (user_id);

-- The authenticator app of an account; the secret is sealed. Not confirmed = not asked for yet.
CREATE TABLE authenticators (
    user_id      uuid        PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    sealed_secret text       NOT NULL,
    confirmed_at timestamptz,
    last_step    bigint      NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL
);

CREATE TABLE recovery_codes (
    user_id uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    digest  text        NOT NULL,
    used_at timestamptz,
    PRIMARY KEY (user_id, digest)
);
