-- Address of a cluster's API, where credentials for it were given over the API.
ALTER TABLE clusters ADD COLUMN endpoint TEXT;

-- How such a cluster is reached. The credentials are in `sealed_credentials` only. One replica at a time hosts its agent: the
-- holder, until `held_until`.
CREATE TABLE connections (
    cluster_id         BLOB    NOT NULL PRIMARY KEY REFERENCES clusters (id) ON DELETE CASCADE,
    agent_id           BLOB    NOT NULL,
    limits             TEXT    NOT NULL,
    sealed_credentials TEXT    NOT NULL,
    revision           INTEGER NOT NULL DEFAULT 1,
    holder             BLOB,
    held_until         TEXT,
    updated_at         TEXT    NOT NULL
) STRICT;
CREATE INDEX connections_holder ON connections (holder);
