CREATE TABLE bodies (
    sha256    text        PRIMARY KEY,
    length    bigint      NOT NULL,
    staged_at timestamptz NOT NULL
);
CREATE INDEX bodies_staged ON bodies (staged_at);

CREATE TABLE body_parts (
    sha256      text    NOT NULL REFERENCES bodies (sha256) ON DELETE CASCADE,
    part        bigint  NOT NULL,
    sealed_part text    NOT NULL,
    PRIMARY KEY (sha256, part)
);

CREATE TABLE operations (
    seq              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id               uuid        NOT NULL UNIQUE,
    cluster_id       uuid        NOT NULL,
    cluster_owner_id uuid,
    lane             text        NOT NULL,
    kind             text        NOT NULL,
    state            text        NOT NULL CHECK (state IN ('queued', 'dispatched', 'running', 'cancel_requested', 'cancelling',
        'succeeded', 'failed', 'cancelled', 'timed_out', 'interrupted')),
    priority         bigint      NOT NULL,
    rollout_id       uuid,
    body_sha256      text        REFERENCES bodies (sha256),
    doc              jsonb       NOT NULL,
    deadline         timestamptz NOT NULL,
    next_try_at      timestamptz NOT NULL,
    lease_holder     uuid,
    lease_token      bigint      NOT NULL DEFAULT 0,
    lease_until      timestamptz,
    settle_at        timestamptz,
    sealed_webhook   text,
    created_at       timestamptz NOT NULL,
    finished_at      timestamptz
);
CREATE INDEX operations_cluster ON operations (cluster_id, seq);
CREATE INDEX operations_active ON operations (cluster_id, lane) WHERE finished_at IS NULL;
CREATE INDEX operations_due ON operations (next_try_at) WHERE finished_at IS NULL;
CREATE INDEX operations_deadline ON operations (deadline) WHERE finished_at IS NULL;
CREATE INDEX operations_settle ON operations (settle_at) WHERE settle_at IS NOT NULL;
CREATE INDEX operations_rollout ON operations (rollout_id) WHERE rollout_id IS NOT NULL;
CREATE INDEX operations_body ON operations (body_sha256) WHERE body_sha256 IS NOT NULL;

CREATE TABLE steps (
    operation_id uuid        NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    number       bigint      NOT NULL,
    at           timestamptz NOT NULL,
    what         jsonb       NOT NULL,
    PRIMARY KEY (operation_id, number)
);

CREATE TABLE objects (
    operation_id uuid    NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    epoch        bigint  NOT NULL,
    position     bigint  NOT NULL,
    key          jsonb   NOT NULL,
    outcome      text    NOT NULL,
    undoable     boolean NOT NULL,
    existed      boolean NOT NULL,
    left_version text,
    PRIMARY KEY (operation_id, epoch, position)
);

CREATE TABLE object_parts (
    operation_id  uuid   NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    epoch         bigint NOT NULL,
    position      bigint NOT NULL,
    part          bigint NOT NULL,
    sealed_before text   NOT NULL,
    PRIMARY KEY (operation_id, epoch, position, part)
);

CREATE TABLE idempotency (
    user_id    uuid        NOT NULL,
    key        text        NOT NULL,
    digest     text        NOT NULL,
    subject_id uuid        NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, key)
);
CREATE INDEX idempotency_created ON idempotency (created_at);

CREATE TABLE webhooks (
    id           uuid        PRIMARY KEY,
    operation_id uuid        NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    body         jsonb       NOT NULL,
    attempts     bigint      NOT NULL DEFAULT 0,
    next_at      timestamptz NOT NULL,
    created_at   timestamptz NOT NULL
);
CREATE INDEX webhooks_due ON webhooks (next_at);

CREATE TABLE rollouts (
    seq         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          uuid        NOT NULL UNIQUE,
    created_by  uuid        NOT NULL,
    state       text        NOT NULL,
    body_sha256 text        REFERENCES bodies (sha256),
    doc         jsonb       NOT NULL,
    next_at     timestamptz,
    created_at  timestamptz NOT NULL
);
CREATE INDEX rollouts_due ON rollouts (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX rollouts_body ON rollouts (body_sha256) WHERE body_sha256 IS NOT NULL;

CREATE TABLE handled (
    message_id uuid        PRIMARY KEY,
    reply      jsonb       NOT NULL,
    at         timestamptz NOT NULL
);
CREATE INDEX handled_at ON handled (at);
