-- Somebody asks for more rights for a while. What is given is a rule of the policy with an end; `wanted` is JSON.
CREATE TABLE access_requests (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              BLOB    NOT NULL UNIQUE,
    user_id         BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    username        TEXT    NOT NULL,
    wanted          TEXT    NOT NULL,
    state           TEXT    NOT NULL,
    created_at      TEXT    NOT NULL,
    lapses_at       TEXT    NOT NULL,
    decided_at      TEXT,
    decided_by      BLOB,
    decided_by_name TEXT,
    note            TEXT,
    ends_at         TEXT,
    ended_at        TEXT,
    ended_by_name   TEXT,
    rule_id         BLOB
) STRICT;
CREATE INDEX access_requests_user_index ON access_requests (user_id, seq);
CREATE INDEX access_requests_ends_index ON access_requests (ends_at) WHERE state = 'approved';

-- What a chat is still to be told.
CREATE TABLE access_notices (
    id         BLOB    PRIMARY KEY,
    body       TEXT    NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    next_at    TEXT    NOT NULL
) STRICT;
CREATE INDEX access_notices_due_index ON access_notices (next_at);
