#!/bin/bash
# Makes the secrets of a docker compose mesh: one random password per service and server, none of them a default. Existing
# ones stay. They lie in deploy/secrets, a folder that only its owner can enter; the files themselves are readable, because compose
# mounts them one by one for programs that run under another user.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
cd "$here"
umask 022
mkdir -p secrets
chmod 700 secrets

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
make() { [ -s "secrets/$1" ] || random >"secrets/$1"; }

for service in user cluster onboarding operations; do
    make "rabbitmq_$service"
done
for service in user onboarding operations; do
    make "postgres_$service"
done
make postgres_admin
make redis
make mesh
make bootstrap_token

# RabbitMQ keeps salted hashes: base64(salt, SHA-256(salt, password)).
definitions=$(cat rabbitmq/definitions.json)
for service in user cluster onboarding operations; do
    salt=$(od -An -N4 -tx1 /dev/urandom | tr -d ' \n')
    raw() { printf "$(printf '%s' "$1" | sed 's/../\\x&/g')"; }
    digest=$( (raw "$salt"; cat "secrets/rabbitmq_$service") | sha256sum | cut -d' ' -f1)
    hash=$( (raw "$salt"; raw "$digest") | base64 | tr -d '\n')
    definitions=$(printf '%s' "$definitions" | sed "s|@roadstead_$service@|$hash|")
done
printf '%s\n' "$definitions" >secrets/rabbitmq_definitions.json
printf 'requirepass %s\n' "$(cat secrets/redis)" >secrets/redis.conf
echo "made $here/secrets; the first admin registers with the token in deploy/secrets/bootstrap_token" >&2
