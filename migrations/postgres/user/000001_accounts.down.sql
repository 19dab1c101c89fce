DROP TABLE hub;
DROP TABLE api_keys;
DROP TABLE token_pairs;
DROP TABLE sessions;
DROP TABLE user_clusters;
DROP TABLE user_roles;
DROP TABLE users;
DROP TABLE roles;
