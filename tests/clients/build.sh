#!/bin/sh
# Builds helm and the program with client-go (tests/kube/client) once into a cache, and prints the folder they are in, its only
# line on stdout. They are part of the module of tests/kube, so that what both link is compiled once. Exit 3: there is no Go
# toolchain.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
kube=$(dirname -- "$here")/kube
cache=${ROADSTEAD_CLIENTS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/roadstead/clients-build}
mkdir -p "$cache"

cd "$kube"
key=$( (uname -sm; sha256sum go.mod go.sum client/*.go "$here/build.sh" | cut -d' ' -f1) | sha256sum | cut -c1-16)
target=$cache/$key
done_building() {
    printf '%s\n' "$target"
    exit 0
}
[ -x "$target/client" ] && done_building

if ! command -v go >/dev/null 2>&1; then
    echo "tests/clients/build.sh: no Go toolchain: install Go 1.26 or later and put 'go' on PATH" >&2
    exit 3
fi

exec 9>"$cache/.lock"
flock 9
[ -x "$target/client" ] && done_building

echo "tests/clients/build.sh: building helm and a client, once" >&2
work=$cache/.new-$key # under the lock nobody else uses it
rm -rf "$work"
mkdir "$work"
# As tests/kube/build.sh has them, or nothing of its packages would be taken over.
export CGO_ENABLED=0 GOWORK=off GOFLAGS="-mod=readonly -gcflags=all=-dwarf=false"
for program in helm.sh/helm/v4/cmd/helm ./client; do
    nice -n 10 go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$work/" "$program" >&2
done
# Nothing else uses the others.
find "$cache" -mindepth 1 -maxdepth 1 -type d ! -name ".new-$key" -exec rm -rf {} +
mv "$work" "$target"
done_building
