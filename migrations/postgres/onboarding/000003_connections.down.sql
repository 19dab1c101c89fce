DROP TABLE connections;
ALTER TABLE clusters DROP COLUMN endpoint;
