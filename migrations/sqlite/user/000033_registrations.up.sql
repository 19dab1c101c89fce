-- Accounts that people ask for and an admin confirms. The id becomes the account's.
CREATE TABLE registrations (
    id            BLOB PRIMARY KEY,
    username      TEXT NOT NULL,
    email         TEXT NOT NULL,
    first_name    TEXT,
    last_name     TEXT,
    password_hash TEXT,
    state         TEXT NOT NULL,
    created_at    TEXT NOT NULL,
    expires_at    TEXT NOT NULL,
    decided_at    TEXT
) STRICT;
CREATE INDEX registrations_expires_index ON registrations (expires_at);
CREATE INDEX registrations_username_index ON registrations (username);
CREATE INDEX registrations_email_index ON registrations (email);
