#!/bin/sh
# A login and a database per service, each able to reach its own only. Runs once, when the data folder is made.
set -eu
for service in user onboarding operations; do
    name=roadstead_$service
    psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname=postgres \
        --set=name="$name" --set=password="$(cat "/run/secrets/postgres_$service")" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
