-- The audit trail: one chain. `record` is the text that was hashed; the columns beside it repeat parts of it for searching.
CREATE TABLE audit_chain (
    seq           INTEGER PRIMARY KEY,
    id            BLOB    NOT NULL UNIQUE,
    prev          TEXT    NOT NULL,
    hash          TEXT    NOT NULL,
    record        TEXT    NOT NULL,
    at            TEXT    NOT NULL,
    phase         TEXT    NOT NULL,
    action        TEXT    NOT NULL,
    outcome       TEXT    ,
    actor_id      TEXT    ,
    actor_name    TEXT    ,
    resource_kind TEXT    NOT NULL,
    resource_name TEXT    ,
    cluster_id    TEXT    ,
    namespace     TEXT    ,
    source        TEXT    ,
    request_id    TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_chain_at_index ON audit_chain (at);
CREATE INDEX audit_chain_actor_index ON audit_chain (actor_name, seq);
CREATE INDEX audit_chain_action_index ON audit_chain (action, seq);
CREATE INDEX audit_chain_cluster_index ON audit_chain (cluster_id, seq);
CREATE INDEX audit_chain_request_index ON audit_chain (request_id);

-- One row: the last of the chain, and the last that retention removed.
CREATE TABLE audit_head (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    seq          INTEGER NOT NULL,
    hash         TEXT    NOT NULL,
    removed_to   INTEGER NOT NULL,
    removed_hash TEXT    NOT NULL
) STRICT;
INSERT INTO audit_head (id, seq, hash, removed_to, removed_hash) VALUES
    (1, 0, '0000000000000000000000000000000000000000000000000000000000000000',
     0, '0000000000000000000000000000000000000000000000000000000000000000');

CREATE TABLE audit_checkpoints (
    seq    INTEGER PRIMARY KEY,
    hash   TEXT    NOT NULL,
    at     TEXT    NOT NULL,
    signed TEXT    NOT NULL
) STRICT;
