ALTER TABLE password_resets DROP COLUMN remove_second_factors;
