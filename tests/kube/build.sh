#!/bin/sh
# Builds roadstead-kube and what it starts (kwok, workload, kwok's stage files) once into a cache,
# and prints the absolute path of the binary, its only line on stdout. Nothing to build is quick;
# two at once are safe, the second waits. Exit 3: there is no Go toolchain.
set -eu

kubernetes=v1.36.3 # as in go.mod; here for `version` of server and kubectl
kwok=v0.8.0
keep=3             # builds kept in the cache, about 250 MB each

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
cache=${ROADSTEAD_KUBE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/roadstead/kube-build}
mkdir -p "$cache"
cache=$(CDPATH='' cd -- "$cache" && pwd -P)

cd "$here"
key=$( (uname -sm; sha256sum go.mod go.sum ./*.go workload/*.go build.sh) | sha256sum | cut -c1-16)
target=$cache/$key
say() { printf 'tests/kube/build.sh: %s\n' "$*" >&2; }
done_building() {
    touch "$target" # so that the builds in use are the newest
    printf '%s\n' "$target/roadstead-kube"
    exit 0
}
[ -x "$target/roadstead-kube" ] && done_building

if ! command -v go >/dev/null 2>&1; then
    say "no Go toolchain: install Go 1.26 or later (https://go.dev/dl/) and put 'go' on PATH," \
        "or set ROADSTEAD_TEST_KUBECONFIG to the kubeconfig of a cluster of yours"
    exit 3
fi

exec 9>"$cache/.lock"
flock 9
[ -x "$target/roadstead-kube" ] && done_building

say "building the test control plane; the first time takes some minutes"
work=$cache/.new-$key # under the lock nobody else uses it; one left by a break is made anew
rm -rf "$work"
mkdir "$work" "$work/stages"
# Static, so that the cache may be carried to another machine; no settings of the caller's. Nobody debugs it: without DWARF what
# the compiler leaves in its own cache is a fifth less.
bare=-gcflags=all=-dwarf=false
export CGO_ENABLED=0 GOWORK=off GOFLAGS="-mod=readonly $bare"

minor=${kubernetes#v1.}
variables=
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    variables="$variables -X $package.gitVersion=$kubernetes -X $package.gitMajor=1"
    variables="$variables -X $package.gitMinor=${minor%%.*} -X $package.gitTreeState=clean"
    variables="$variables -X $package.gitCommit=0000000000000000000000000000000000000000"
done
nice -n 10 go build -trimpath -buildvcs=false -ldflags "-s -w $variables" -o "$work/roadstead-kube" . >&2
nice -n 10 go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$work/workload" ./workload >&2
# kwok has requirements of its own, so it is built outside of this module.
cd "$work"
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
rm -rf "$target"
mv "$work" "$target"

# Old builds go, newest first kept. A cluster that runs from one keeps running.
find "$cache" -mindepth 1 -maxdepth 1 -type d -name '[0-9a-f]*' -printf '%T@ %p\n' | sort -rn |
    tail -n "+$((keep + 1))" | cut -d' ' -f2- | while IFS= read -r old; do rm -rf "$old"; done
done_building
