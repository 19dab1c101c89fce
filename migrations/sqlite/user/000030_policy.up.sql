-- Rules of the policy. `rule` is the whole of it as JSON, as it travels; the other columns are to find it by.
CREATE TABLE policy_rules (
    id         BLOB NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,
    rule       TEXT NOT NULL,
    ends_at    TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    updated_by BLOB,
    CONSTRAINT policy_rules_name_key UNIQUE (name)
) STRICT;
CREATE INDEX policy_rules_ends_index ON policy_rules (ends_at) WHERE ends_at IS NOT NULL;

-- Counts the changes, so that a replica knows when what it compiled is old. Whoever changes rules takes this row first.
CREATE TABLE policy_state (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL
) STRICT;
INSERT INTO policy_state (id, version) VALUES (1, 0);

-- Groups that an identity provider put an account into at its last login.
CREATE TABLE user_groups (
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name    TEXT NOT NULL,
    PRIMARY KEY (user_id, name)
) STRICT;
