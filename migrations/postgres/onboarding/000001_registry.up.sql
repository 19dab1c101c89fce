CREATE TABLE clusters (
    seq          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           uuid        NOT NULL UNIQUE,
    name         text        NOT NULL UNIQUE,
    description  text        NOT NULL DEFAULT '',
    labels       jsonb       NOT NULL DEFAULT '{}',
    mode         text        NOT NULL CHECK (mode IN ('agent', 'hosted')),
    owner_id     uuid,
    owner_seq    bigint      NOT NULL DEFAULT 0,
    facts        jsonb       NOT NULL DEFAULT '{}',
    details      jsonb,
    last_seen_at timestamptz,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL
);
CREATE INDEX clusters_owner ON clusters (owner_id);

CREATE TABLE agents (
    seq               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id                uuid        NOT NULL UNIQUE,
    cluster_id        uuid        REFERENCES clusters (id) ON DELETE CASCADE,
    owner_id          uuid,
    kind              text        NOT NULL CHECK (kind IN ('tunnel', 'seed', 'hosted')),
    public_key        text        UNIQUE,
    join_token_id     uuid,
    profile           text        NOT NULL,
    version           text,
    revoked_at        timestamptz,
    connected_replica uuid,
    epoch             bigint      NOT NULL DEFAULT 0,
    connected_at      timestamptz,
    last_seen_at      timestamptz,
    created_at        timestamptz NOT NULL
);
CREATE INDEX agents_cluster ON agents (cluster_id);
CREATE INDEX agents_replica ON agents (connected_replica) WHERE connected_replica IS NOT NULL;

CREATE TABLE join_tokens (
    seq        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         uuid        NOT NULL UNIQUE,
    digest     text        NOT NULL,
    cluster_id uuid        REFERENCES clusters (id) ON DELETE CASCADE,
    owner_id   uuid        NOT NULL,
    owner_seq  bigint      NOT NULL,
    labels     jsonb       NOT NULL DEFAULT '{}',
    profile    text        NOT NULL,
    uses_left  bigint      NOT NULL CHECK (uses_left >= 0),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL
);
CREATE INDEX join_tokens_owner ON join_tokens (owner_id);
CREATE INDEX join_tokens_cluster ON join_tokens (cluster_id);

-- Replicas that are alive: an agent counts as connected while its replica was seen a moment ago.
CREATE TABLE replicas (
    id      uuid        PRIMARY KEY,
    seen_at timestamptz NOT NULL
);

-- Answers to changes that were done already, for messages that are delivered twice.
CREATE TABLE handled (
    message_id uuid        PRIMARY KEY,
    reply      jsonb       NOT NULL,
    at         timestamptz NOT NULL
);
CREATE INDEX handled_at ON handled (at);
