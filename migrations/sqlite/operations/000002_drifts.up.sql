CREATE TABLE drifts (
    cluster_id  BLOB PRIMARY KEY,
    agent_id    BLOB NOT NULL,
    epoch       INTEGER NOT NULL,
    revision    INTEGER NOT NULL,
    drifted     INTEGER NOT NULL,
    doc         TEXT NOT NULL,
    reported_at TEXT NOT NULL
) STRICT;
CREATE INDEX drifts_some ON drifts (drifted) WHERE drifted > 0;
