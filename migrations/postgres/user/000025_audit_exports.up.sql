-- How far each receiver outside has the audit trail. One replica at a time sends to one receiver: whoever holds the row.
CREATE TABLE audit_exports (
    sink       text        PRIMARY KEY,
    seq        bigint      NOT NULL,
    holder     uuid,
    held_until timestamptz,
    updated_at timestamptz NOT NULL
);
