CREATE TABLE drifts (
    cluster_id  uuid        PRIMARY KEY,
    agent_id    uuid        NOT NULL,
    epoch       bigint      NOT NULL,
    revision    bigint      NOT NULL,
    drifted     bigint      NOT NULL,
    doc         jsonb       NOT NULL,
    reported_at timestamptz NOT NULL
);
CREATE INDEX drifts_some ON drifts (drifted) WHERE drifted > 0;
