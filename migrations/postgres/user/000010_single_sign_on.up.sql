-- Who an account is to an identity provider: an account may be known to several, a subject is one account's.
CREATE TABLE identities (
    issuer        text        NOT NULL,
    subject       text        NOT NULL,
    user_id       uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at    timestamptz NOT NULL,
    last_login_at timestamptz NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX identities_user_index ON identities (user_id);

-- A login on its way through a provider's pages. It is taken once; nonce and verifier are derived from the state itself, of
-- which only the digest is here.
CREATE TABLE provider_logins (
    state      text        PRIMARY KEY,
    provider   text        NOT NULL,
    binding    text        NOT NULL,
    next       text,
    loopback   text,
    expires_at timestamptz NOT NULL
);
CREATE INDEX provider_logins_expires_index ON provider_logins (expires_at);

-- A login that a program on the person's machine is about to fetch, once.
CREATE TABLE login_codes (
    digest     text        PRIMARY KEY,
    challenge  text        NOT NULL,
    user_id    uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    sign_in    text        NOT NULL,
    expires_at timestamptz NOT NULL
);

-- Which sessions a provider may end.
CREATE TABLE sign_ins (
    session_id       uuid PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    provider         text NOT NULL,
    issuer           text NOT NULL,
    subject          text NOT NULL,
    provider_session text,
    sealed_id_token  text
);
CREATE INDEX sign_ins_subject_index ON sign_ins (issuer, subject);
CREATE INDEX sign_ins_session_index ON sign_ins (issuer, provider_session);
