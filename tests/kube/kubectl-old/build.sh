#!/bin/sh
# Builds kubectl of an older Kubernetes once into a cache, and prints the program's path, its only line on stdout. It has a module of
# its own, as one module has one version of client-go. Exit 3: there is no Go toolchain.
set -eu

kubernetes=v1.32.3 # as in go.mod, where it is v0.32.3; here for `version`

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
cache=${ROADSTEAD_KUBECTL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/roadstead/kubectl-build}
mkdir -p "$cache"

cd "$here"
key=$( (uname -sm; sha256sum go.mod go.sum main.go build.sh) | sha256sum | cut -c1-16)
target=$cache/$key
done_building() {
    printf '%s\n' "$target/kubectl"
    exit 0
}
[ -x "$target/kubectl" ] && done_building

if ! command -v go >/dev/null 2>&1; then
    echo "tests/kube/kubectl-old/build.sh: no Go toolchain: install Go 1.26 or later (https://go.dev/dl/) and put 'go' on PATH" >&2
    exit 3
fi

exec 9>"$cache/.lock"
flock 9
[ -x "$target/kubectl" ] && done_building

echo "tests/kube/kubectl-old/build.sh: building an older kubectl, once; it takes some minutes" >&2
work=$cache/.new-$key # under the lock nobody else uses it
rm -rf "$work"
mkdir "$work"
# As ../build.sh has them, so that packages that both link are taken over.
export CGO_ENABLED=0 GOWORK=off GOFLAGS="-mod=readonly -gcflags=all=-dwarf=false"
minor=${kubernetes#v1.}
variables=
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    variables="$variables -X $package.gitVersion=$kubernetes -X $package.gitMajor=1"
    variables="$variables -X $package.gitMinor=${minor%%.*} -X $package.gitTreeState=clean"
    variables="$variables -X $package.gitCommit=0000000000000000000000000000000000000000"
done
nice -n 10 go build -trimpath -buildvcs=false -ldflags "-s -w $variables" -o "$work/kubectl" . >&2
# Nothing else uses the others.
find "$cache" -mindepth 1 -maxdepth 1 -type d ! -name ".new-$key" -exec rm -rf {} +
mv "$work" "$target"
done_building
