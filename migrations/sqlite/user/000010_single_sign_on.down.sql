DROP TABLE sign_ins;
DROP TABLE login_codes;
DROP TABLE provider_logins;
DROP TABLE identities;
