#!/bin/sh
# Builds helm and the program with client-go (tests/kube/client) once into a cache, and prints the folder they are in, its only
# line on stdout. They are part of the module of tests/kube, so that what both link is compiled once. Exit 3: there is no Go
# toolchain.
set -eu

script=tests/clients/build.sh

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
cd "$here/../kube"
. ./go-build.sh

build() {
    for program in helm.sh/helm/v4/cmd/helm ./client; do
        go_build -ldflags "-s -w" -o "$work/" "$program"
    done
}

cached "${ROADSTEAD_CLIENTS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/roadstead/clients-build}" 1 client \
    go.mod go.sum client/*.go "$here/build.sh" go-build.sh
printf '%s\n' "$target"
