-- Namespaces of the rights profile `namespaced`.
ALTER TABLE join_tokens ADD COLUMN namespaces jsonb NOT NULL DEFAULT '[]';
ALTER TABLE agents ADD COLUMN namespaces jsonb NOT NULL DEFAULT '[]';
