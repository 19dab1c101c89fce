-- Recorded sessions. What was said in them is in the parts, sealed; who, where and which command, too.
CREATE TABLE recordings (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           BLOB    NOT NULL UNIQUE,
    user_id      BLOB    NOT NULL,
    cluster_id   BLOB    NOT NULL,
    request_id   TEXT    NOT NULL,
    sealed_facts TEXT    NOT NULL,
    bytes        INTEGER NOT NULL DEFAULT 0,
    started_at   TEXT    NOT NULL,
    ended_at     TEXT
) STRICT;
CREATE INDEX recordings_user ON recordings (user_id, seq);
CREATE INDEX recordings_started ON recordings (started_at);

CREATE TABLE recording_parts (
    recording_id BLOB    NOT NULL REFERENCES recordings (id) ON DELETE CASCADE,
    part         INTEGER NOT NULL,
    sealed_lines TEXT    NOT NULL,
    PRIMARY KEY (recording_id, part)
) STRICT;
