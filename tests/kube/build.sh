#!/bin/sh
# Builds roadstead-kube and what it starts (kwok, workload, kwok's stage files) once into a cache, and prints the absolute path of
# the binary, its only line on stdout. Exit 3: there is no Go toolchain.
set -eu

kubernetes=v1.36.3 # as in go.mod; here for `version` of server and kubectl
kwok=v0.8.0
keep=3             # builds kept in the cache, about 250 MB each
script=tests/kube/build.sh
without_go=", or set ROADSTEAD_TEST_KUBECONFIG to the kubeconfig of a cluster of yours"

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
cd "$here"
. ./go-build.sh

build() {
    mkdir "$work/stages"
    go_build -ldflags "-s -w$(version_flags $kubernetes)" -o "$work/roadstead-kube" .
    go_build -ldflags "-s -w" -o "$work/workload" ./workload
    # kwok has requirements of its own, so it is built outside of this module.
    cd "$work"
    export CGO_ENABLED=0 GOWORK=off
    GOFLAGS=$bare GOBIN=$work nice -n 10 go install -trimpath -ldflags "-s -w" "sigs.k8s.io/kwok/cmd/kwok@$kwok" >&2
    stages=$(GOFLAGS=-mod=mod go list -m -f '{{.Dir}}' "sigs.k8s.io/kwok@$kwok")/kustomize/stage
    for folder in node/fast node/heartbeat-with-lease pod/fast; do
        for file in "$stages/$folder"/*.yaml; do
            name=${file##*/}
            [ "$name" = kustomization.yaml ] || cp "$file" "$work/stages/$(echo "$folder" | tr / -)-$name"
        done
    done
    chmod -R u+w "$work/stages"
    ln -s roadstead-kube "$work/kubectl"
}

cached "${ROADSTEAD_KUBE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/roadstead/kube-build}" $keep roadstead-kube \
    go.mod go.sum ./*.go workload/*.go build.sh go-build.sh
printf '%s\n' "$target/roadstead-kube"
