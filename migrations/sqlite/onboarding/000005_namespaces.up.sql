-- Namespaces of the rights profile `namespaced`.
ALTER TABLE join_tokens ADD COLUMN namespaces TEXT NOT NULL DEFAULT '[]';
ALTER TABLE agents ADD COLUMN namespaces TEXT NOT NULL DEFAULT '[]';
