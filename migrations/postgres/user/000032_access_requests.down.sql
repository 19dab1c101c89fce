DROP TABLE access_notices;
DROP TABLE access_requests;
