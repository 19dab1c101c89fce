ALTER TABLE agents DROP COLUMN namespaces;
ALTER TABLE join_tokens DROP COLUMN namespaces;
