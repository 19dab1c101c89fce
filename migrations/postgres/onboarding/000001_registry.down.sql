DROP TABLE handled;
DROP TABLE replicas;
DROP TABLE join_tokens;
DROP TABLE agents;
DROP TABLE clusters;
