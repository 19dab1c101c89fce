DROP TABLE user_groups;
DROP TABLE policy_state;
DROP TABLE policy_rules;
