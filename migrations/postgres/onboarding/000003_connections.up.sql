-- Address of a cluster's API, where credentials for it were given over the API.
ALTER TABLE clusters ADD COLUMN endpoint text;

-- How such a cluster is reached. The credentials are in `sealed_credentials` only. One replica at a time hosts its agent: the
-- holder, until `held_until`.
CREATE TABLE connections (
    cluster_id         uuid        PRIMARY KEY REFERENCES clusters (id) ON DELETE CASCADE,
    agent_id           uuid        NOT NULL,
    limits             jsonb       NOT NULL,
    sealed_credentials text        NOT NULL,
    revision           bigint      NOT NULL DEFAULT 1,
    holder             uuid,
    held_until         timestamptz,
    updated_at         timestamptz NOT NULL
);
CREATE INDEX connections_holder ON connections (holder);
