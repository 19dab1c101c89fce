DROP TABLE recording_parts;
DROP TABLE recordings;
