-- The audit trail: one chain. `record` is the text that was hashed; the columns beside it repeat parts of it for searching.
CREATE TABLE audit_chain (
    seq           bigint      PRIMARY KEY,
    id            uuid        NOT NULL UNIQUE,
    prev          text        NOT NULL,
    hash          text        NOT NULL,
    record        text        NOT NULL,
    at            timestamptz NOT NULL,
    phase         text        NOT NULL,
    action        text        NOT NULL,
    outcome       text,
    actor_id      text,
    actor_name    text,
    resource_kind text        NOT NULL,
    resource_name text,
    cluster_id    text,
    namespace     text,
    source        text,
    request_id    text        NOT NULL
);
CREATE INDEX audit_chain_at_index ON audit_chain (at);
CREATE INDEX audit_chain_actor_index ON audit_chain (actor_name, seq);
CREATE INDEX audit_chain_action_index ON audit_chain (action, seq);
CREATE INDEX audit_chain_cluster_index ON audit_chain (cluster_id, seq);
CREATE INDEX audit_chain_request_index ON audit_chain (request_id);

-- One row: the last of the chain, and the last that retention removed.
CREATE TABLE audit_head (
    id           integer PRIMARY KEY CHECK (id = 1),
    seq          bigint  NOT NULL,
    hash         text    NOT NULL,
    removed_to   bigint  NOT NULL,
    removed_hash text    NOT NULL
);
INSERT INTO audit_head (id, seq, hash, removed_to, removed_hash) VALUES
    (1, 0, '0000000000000000000000000000000000000000000000000000000000000000',
     0, '0000000000000000000000000000000000000000000000000000000000000000');

CREATE TABLE audit_checkpoints (
    seq    bigint      PRIMARY KEY,
    hash   text        NOT NULL,
    at     timestamptz NOT NULL,
    signed text        NOT NULL
);
