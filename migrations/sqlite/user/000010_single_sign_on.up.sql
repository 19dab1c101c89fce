-- Who an account is to an identity provider: an account may be known to several, a subject is one account's.
CREATE TABLE identities (
    issuer        TEXT        NOT NULL,
    subject       TEXT        NOT NULL,
    user_id       BLOB        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at    TEXT NOT NULL,
    last_login_at TEXT NOT NULL,
    PRIMARY KEY (issuer, subject)
) STRICT;
CREATE INDEX identities_user_index ON identities (user_id);

-- A login on its way through a provider's pages. It is taken once; nonce and verifier are derived from the state itself, of
-- which only the digest is here.
CREATE TABLE provider_logins (
    state      TEXT        PRIMARY KEY,
    provider   TEXT        NOT NULL,
    binding    TEXT        NOT NULL,
    next       TEXT,
    loopback   TEXT,
    expires_at TEXT NOT NULL
) STRICT;
CREATE INDEX provider_logins_expires_index ON provider_logins (expires_at);

-- A login that a program on the person's machine is about to fetch, once.
CREATE TABLE login_codes (
    digest     TEXT        PRIMARY KEY,
    challenge  TEXT        NOT NULL,
    user_id    BLOB        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    sign_in    TEXT        NOT NULL,
    expires_at TEXT NOT NULL
) STRICT;

-- Which sessions a provider may end.
CREATE TABLE sign_ins (
    session_id       BLOB PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    provider         TEXT NOT NULL,
    issuer           TEXT NOT NULL,
    subject          TEXT NOT NULL,
    provider_session TEXT,
    sealed_id_token  TEXT
) STRICT;
CREATE INDEX sign_ins_subject_index ON sign_ins (issuer, subject);
CREATE INDEX sign_ins_session_index ON sign_ins (issuer, provider_session);
