-- Whether the account's second factors go with the old password.
ALTER TABLE password_resets ADD COLUMN remove_second_factors INTEGER NOT NULL DEFAULT 0;
