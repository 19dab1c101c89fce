-- Somebody asks for more rights for a while. What is given is a rule of the policy with an end; `wanted` is JSON.
CREATE TABLE access_requests (
    seq             bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id              uuid        NOT NULL UNIQUE,
    user_id         uuid        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    username        text        NOT NULL,
    wanted          text        NOT NULL,
    state           text        NOT NULL,
    created_at      timestamptz NOT NULL,
    lapses_at       timestamptz NOT NULL,
    decided_at      timestamptz,
    decided_by      uuid,
    decided_by_name text,
    note            text,
    ends_at         timestamptz,
    ended_at        timestamptz,
    ended_by_name   text,
    rule_id         uuid
);
CREATE INDEX access_requests_user_index ON access_requests (user_id, seq);
CREATE INDEX access_requests_ends_index ON access_requests (ends_at) WHERE state = 'approved';

-- What a chat is still to be told.
CREATE TABLE access_notices (
    id         uuid        PRIMARY KEY,
    body       text        NOT NULL,
    attempts   bigint      NOT NULL DEFAULT 0,
    next_at    timestamptz NOT NULL
);
CREATE INDEX access_notices_due_index ON access_notices (next_at);
