ALTER TABLE replicas DROP COLUMN address;
