-- Recorded sessions. What was said in them is in the parts, sealed; who, where and which command, too.
CREATE TABLE recordings (
    seq          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           uuid        NOT NULL UNIQUE,
    user_id      uuid        NOT NULL,
    cluster_id   uuid        NOT NULL,
    request_id   text        NOT NULL,
    sealed_facts text        NOT NULL,
    bytes        bigint      NOT NULL DEFAULT 0,
    started_at   timestamptz NOT NULL,
    ended_at     timestamptz
);
CREATE INDEX recordings_user ON recordings (user_id, seq);
CREATE INDEX recordings_started ON recordings (started_at);

CREATE TABLE recording_parts (
    recording_id uuid   NOT NULL REFERENCES recordings (id) ON DELETE CASCADE,
    part         bigint NOT NULL,
    sealed_lines text   NOT NULL,
    PRIMARY KEY (recording_id, part)
);
