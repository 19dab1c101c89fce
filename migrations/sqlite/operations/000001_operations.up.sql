CREATE TABLE bodies (
    sha256    TEXT PRIMARY KEY,
    length    INTEGER NOT NULL,
    staged_at TEXT NOT NULL
) STRICT;
CREATE INDEX bodies_staged ON bodies (staged_at);

CREATE TABLE body_parts (
    sha256      TEXT NOT NULL REFERENCES bodies (sha256) ON DELETE CASCADE,
    part        INTEGER NOT NULL,
    sealed_part TEXT NOT NULL,
    PRIMARY KEY (sha256, part)
) STRICT;

CREATE TABLE operations (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    id               BLOB NOT NULL UNIQUE,
    cluster_id       BLOB NOT NULL,
    cluster_owner_id BLOB,
    lane             TEXT NOT NULL,
    kind             TEXT NOT NULL,
    state            TEXT NOT NULL CHECK (state IN ('queued', 'dispatched', 'running', 'cancel_requested', 'cancelling',
        'succeeded', 'failed', 'cancelled', 'timed_out', 'interrupted')),
    priority         INTEGER NOT NULL,
    rollout_id       BLOB,
    body_sha256      TEXT REFERENCES bodies (sha256),
    doc              TEXT NOT NULL,
    deadline         TEXT NOT NULL,
    next_try_at      TEXT NOT NULL,
    lease_holder     BLOB,
    lease_token      INTEGER NOT NULL DEFAULT 0,
    lease_until      TEXT,
    settle_at        TEXT,
    sealed_webhook   TEXT,
    created_at       TEXT NOT NULL,
    finished_at      TEXT
) STRICT;
CREATE INDEX operations_cluster ON operations (cluster_id, seq);
CREATE INDEX operations_active ON operations (cluster_id, lane) WHERE finished_at IS NULL;
CREATE INDEX operations_due ON operations (next_try_at) WHERE finished_at IS NULL;
CREATE INDEX operations_deadline ON operations (deadline) WHERE finished_at IS NULL;
CREATE INDEX operations_settle ON operations (settle_at) WHERE settle_at IS NOT NULL;
CREATE INDEX operations_rollout ON operations (rollout_id) WHERE rollout_id IS NOT NULL;
CREATE INDEX operations_body ON operations (body_sha256) WHERE body_sha256 IS NOT NULL;

CREATE TABLE steps (
    operation_id BLOB NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    number       INTEGER NOT NULL,
    at           TEXT NOT NULL,
    what         TEXT NOT NULL,
    PRIMARY KEY (operation_id, number)
) STRICT;

CREATE TABLE objects (
    operation_id BLOB NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    epoch        INTEGER NOT NULL,
    position     INTEGER NOT NULL,
    key          TEXT NOT NULL,
    outcome      TEXT NOT NULL,
    undoable     INTEGER NOT NULL,
    existed      INTEGER NOT NULL,
    left_version TEXT,
    PRIMARY KEY (operation_id, epoch, position)
) STRICT;

CREATE TABLE object_parts (
    operation_id  BLOB NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    epoch         INTEGER NOT NULL,
    position      INTEGER NOT NULL,
    part          INTEGER NOT NULL,
    sealed_before TEXT NOT NULL,
    PRIMARY KEY (operation_id, epoch, position, part)
) STRICT;

CREATE TABLE idempotency (
    user_id    BLOB NOT NULL,
    key        TEXT NOT NULL,
    digest     TEXT NOT NULL,
    subject_id BLOB NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (user_id, key)
) STRICT;
CREATE INDEX idempotency_created ON idempotency (created_at);

CREATE TABLE webhooks (
    id           BLOB PRIMARY KEY,
    operation_id BLOB NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    body         TEXT NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    next_at      TEXT NOT NULL,
    created_at   TEXT NOT NULL
) STRICT;
CREATE INDEX webhooks_due ON webhooks (next_at);

CREATE TABLE rollouts (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          BLOB NOT NULL UNIQUE,
    created_by  BLOB NOT NULL,
    state       TEXT NOT NULL,
    body_sha256 TEXT REFERENCES bodies (sha256),
    doc         TEXT NOT NULL,
    next_at     TEXT,
    created_at  TEXT NOT NULL
) STRICT;
CREATE INDEX rollouts_due ON rollouts (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX rollouts_body ON rollouts (body_sha256) WHERE body_sha256 IS NOT NULL;

CREATE TABLE handled (
    message_id BLOB PRIMARY KEY,
    reply      TEXT NOT NULL,
    at         TEXT NOT NULL
) STRICT;
CREATE INDEX handled_at ON handled (at);
