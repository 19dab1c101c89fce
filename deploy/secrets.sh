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
# The master key of what is sealed in the databases, in the form that the hub wants. Keep a copy of it apart from their backups.
[ -s secrets/seal ] || head -c 32 /dev/urandom | base64 | tr -d '\n' >secrets/seal
make bootstrap_token

# The Kubernetes door speaks TLS, because kubectl sends no credential without it. An authority of the hub's own, ten years, and
# a certificate for the door, two; kubeconfigs carry the authority. HOSTS adds names: HOSTS="hub.example.com 10.0.0.5".
door=secrets/kubernetes
mkdir -p "$door"
if [ ! -s "$door/ca.pem" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=roadstead" \
        -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign \
        -keyout secrets/kubernetes-ca-key.pem -out "$door/ca.pem" 2>/dev/null
    chmod 600 secrets/kubernetes-ca-key.pem
fi
if [ ! -s "$door/cert.pem" ]; then
    names="DNS:localhost,DNS:cluster,IP:127.0.0.1"
    for host in ${HOSTS:-}; do
        case $host in *[!0-9.]*) names="$names,DNS:$host" ;; *) names="$names,IP:$host" ;; esac
    done
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=kubernetes-door" \
        -keyout "$door/key.pem" -out "$door/request.pem" 2>/dev/null
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\nkeyUsage=critical,digitalSignature\n' "$names" >"$door/extensions"
    openssl x509 -req -in "$door/request.pem" -days 730 -CA "$door/ca.pem" -CAkey secrets/kubernetes-ca-key.pem \
        -extfile "$door/extensions" -out "$door/cert.pem" 2>/dev/null
    rm -f "$door/request.pem" "$door/extensions"
    # Mounted for a program that runs under another user; the folder above is closed.
    chmod 644 "$door/key.pem"
fi

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
