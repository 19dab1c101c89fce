-- Accounts that people ask for and an admin confirms. The id becomes the account's.
CREATE TABLE registrations (
    id            uuid        PRIMARY KEY,
    username      text        NOT NULL,
    email         text        NOT NULL,
    first_name    text,
    last_name     text,
    password_hash text,
    state         text        NOT NULL,
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    decided_at    timestamptz
);
CREATE INDEX registrations_expires_index ON registrations (expires_at);
CREATE INDEX registrations_username_index ON registrations (username);
CREATE INDEX registrations_email_index ON registrations (email);
