-- How far each receiver outside has the audit trail. One replica at a time sends to one receiver: whoever holds the row.
CREATE TABLE audit_exports (
    sink       TEXT    PRIMARY KEY,
    seq        INTEGER NOT NULL,
    holder     BLOB,
    held_until TEXT,
    updated_at TEXT    NOT NULL
) STRICT;
