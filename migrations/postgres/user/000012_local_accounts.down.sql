DROP TABLE recovery_codes;
DROP TABLE authenticators;
DROP TABLE password_resets;
