# Read with `.` by the scripts that build Go programs once into a cache. Such a script says what it builds in a function
# `build`, which fills the empty folder $work, and ends with `cached`.

if [ -z "${here:-}" ]; then
    echo "go-build.sh: whoever reads this sets \$here, the folder of the script" >&2
    exit 2
fi

say() { printf '%s: %s\n' "$script" "$*" >&2; }

# Static, so that the cache may be carried to another machine; no settings of the caller's. Nobody debugs it: without DWARF what
# the compiler leaves in its own cache is a fifth less. One set of flags for all, so that what several link is compiled once.
bare=-gcflags=all=-dwarf=false
in_module() {
    CGO_ENABLED=0 GOWORK=off GOFLAGS="-mod=readonly $bare" nice -n 10 "$@" >&2
}

go_build() {
    in_module go build -trimpath -buildvcs=false "$@"
}

# What the linker writes into programs of this version of Kubernetes (v1.36.3) for `version`.
version_flags() {
    minor=${1#v1.}
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        printf ' -X %s' "$package.gitVersion=$1" "$package.gitMajor=1" "$package.gitMinor=${minor%%.*}" \
            "$package.gitTreeState=clean" "$package.gitCommit=0000000000000000000000000000000000000000"
    done
}

# cached CACHE KEEP PROGRAM FILE... : builds unless a build of the same FILEs is in the folder CACHE, where the newest KEEP
# remain, and sets $target to its folder. PROGRAM is one of what it makes. Nothing to build is quick; two at once are safe, the second
# waits. Exit 3: there is no Go toolchain.
cached() {
    mkdir -p "$1"
    cache=$(CDPATH='' cd -- "$1" && pwd -P) keep=$2 program=$3
    shift 3
    key=$( (uname -sm; sha256sum "$@" | cut -d' ' -f1) | sha256sum | cut -c1-16)
    target=$cache/$key
    if ! [ -x "$target/$program" ]; then
        if ! command -v go >/dev/null 2>&1; then
            say "no Go toolchain: install Go 1.26 or later (https://go.dev/dl/) and put 'go' on PATH${without_go:-}"
            exit 3
        fi
        exec 9>"$cache/.lock"
        flock 9
        [ -x "$target/$program" ] || make_anew
    fi
    touch "$target" # so that the builds in use are the newest
}

make_anew() {
    say "building, once; the first time takes some minutes"
    work=$cache/.new-$key # under the lock nobody else uses it; one left by a break is made anew
    rm -rf "$work"
    mkdir "$work"
    build
    rm -rf "$target"
    mv "$work" "$target"
    # Old builds go, newest first kept. What runs from one keeps running.
    find "$cache" -mindepth 1 -maxdepth 1 -type d -name '[0-9a-f]*' -printf '%T@ %p\n' | sort -rn |
        tail -n "+$((keep + 1))" | cut -d' ' -f2- | while IFS= read -r old; do rm -rf "$old"; done
}
