ALTER TABLE api_keys DROP COLUMN previous_until;
ALTER TABLE api_keys DROP COLUMN previous_digest;
ALTER TABLE api_keys DROP COLUMN scope;
