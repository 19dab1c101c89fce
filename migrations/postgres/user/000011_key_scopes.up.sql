-- What a key is held to (JSON), and the secret it had before while that still works.
ALTER TABLE api_keys ADD COLUMN scope text;
ALTER TABLE api_keys ADD COLUMN previous_digest text;
ALTER TABLE api_keys ADD COLUMN previous_until timestamptz;
