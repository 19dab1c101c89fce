#!/bin/sh
# Builds kubectl of an older Kubernetes once into a cache, and prints the program's path, its only line on stdout. It has a module of
# its own, as one module has one version of client-go. Exit 3: there is no Go toolchain.
set -eu

kubernetes=v1.32.3 # as in go.mod, where it is v0.32.3; here for `version`
script=tests/kube/kubectl-old/build.sh

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
cd "$here"
. ../go-build.sh

build() {
    go_build -ldflags "-s -w$(version_flags $kubernetes)" -o "$work/kubectl" .
}

cached "${ROADSTEAD_KUBECTL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/roadstead/kubectl-build}" 1 kubectl \
    go.mod go.sum main.go build.sh ../go-build.sh
printf '%s\n' "$target/kubectl"
