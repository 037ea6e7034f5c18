# shellcheck shell=bash
# What every script here shares: reports, packages of this machine, the cache of images, the binary under test.
# Sourced, not run. Booting is in boot.sh, what is built for the cache in build/.

VM_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PROJECT=$(cd "$VM_DIR/../.." && pwd)
CACHE=${KPX_PREP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kpx-prep}/vm
MUSL=x86_64-unknown-linux-musl
mkdir -p "$CACHE"

# --- reports: TAP; one result per check, the plan at the end, never silence

. "$VM_DIR/../support/reports.sh"
finished=

note() { printf '# %s\n' "$*"; }

# Cannot even try: a failure, never a skip.
die() {
    not_ok "$*"
    exit 1
}

# count_tap NAME FILE: what a guest's job or another script reported, as results of this script, numbered on. It must have
# ended with the plan of what it reported, so that a guest that died half-way cannot pass.
count_tap() {
    local name=$1 file=$2 line results=0 plan=none
    while IFS= read -r line; do
        line=${line//$'\r'/}
        if [[ $line =~ ^(not\ )?ok\ ([0-9]+)\ -\ (.*)$ ]]; then
            results=$((results + 1))
            # A number that is not the next one: something was reported that is not here.
            [ "${BASH_REMATCH[2]}" = "$results" ] || plan="number ${BASH_REMATCH[2]} where $results is due"
            if [ -z "${BASH_REMATCH[1]}" ]; then ok "${BASH_REMATCH[3]}"; else not_ok "${BASH_REMATCH[3]}"; fi
        elif [[ $line =~ ^1\.\.([0-9]+)$ ]]; then
            # Only one, and nothing after it.
            if [ "$plan" = none ]; then plan=${BASH_REMATCH[1]}; else plan="$plan, then ${BASH_REMATCH[1]}"; fi
        elif [[ $line == "#"* ]]; then
            printf '%s\n' "$line"
        fi
    done <"$file"
    if [ "$plan" != "$results" ] || [ "$results" = 0 ]; then
        not_ok "$name: it ended early (plan: $plan, results: $results)" "$file"
    fi
}

# finish: false if something failed.
finish() {
    finished=1
    local status=0
    end_reports || status=1
    note "$((reported - failed)) passed, $failed failed"
    return "$status"
}

# A throw-away folder for one run; `ending` reports a script that stopped before its end.
start() {
    RUN=$(mktemp -d "${TMPDIR:-/tmp}/kpx-prep-vm.XXXXXX")
    check_log=$RUN/check.log
    trap ending EXIT
    trap 'exit 130' INT TERM
}

ending() {
    local status=$?
    if [ -z "$finished" ]; then
        [ "$failed" != 0 ] || not_ok "the script stopped early (status $status)"
        finish || true
        [ "$status" != 0 ] || status=1
    fi
    # Only what this run started itself, with all that hangs on it where it has a process group of its own.
    local job
    for job in $(jobs -p); do kill -- "-$job" 2>/dev/null || kill "$job" 2>/dev/null || true; done
    if [ -n "${KPX_PREP_KEEP:-}" ]; then note "kept: $RUN"; else rm -rf "$RUN"; fi
    exit "$status"
}

# --- this machine

# The recipe stands on Debian packages for amd64, unpacked with dpkg; say so instead of failing somewhere inside.
need_host() {
    [ "$(uname -sm)" = "Linux x86_64" ] || die "this needs an x86_64 Linux machine (here: $(uname -sm))"
    local tool
    for tool in apt-get apt-cache dpkg-deb; do
        command -v "$tool" >/dev/null || die "this needs Debian's $tool: use a Debian 12 machine, or a container of it"
    done
}

need_root() { [ "$(id -u)" = 0 ] || die "$1 needs root (sudo make …)"; }

# need_packages PACKAGE…: installs what is not there.
need_packages() {
    local package missing=()
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "packages are missing; as root: apt-get install --no-install-recommends ${missing[*]}"
    note "installing: ${missing[*]}"
    local log=$RUN/apt.log options=(-y --no-install-recommends -o DPkg::Lock::Timeout=300)
    # The lists may be older than the archive: try, refresh, try again.
    if ! DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "${missing[@]}" >"$log" 2>&1; then
        { apt-get update -o DPkg::Lock::Timeout=300 &&
            DEBIAN_FRONTEND=noninteractive apt-get install "${options[@]}" "${missing[@]}"; } >"$log" 2>&1 ||
            { not_ok "installing ${missing[*]}" "$log"; exit 1; }
    fi
}

# --- the cache: $CACHE/NAME-KEY, where KEY says everything that went into it

# built_folder NAME VERSIONS: the folder that build/NAME makes of them, there or not.
built_folder() { echo "$CACHE/$1-$(cat "$VM_DIR/build/$1" "$VM_DIR/apt.sh" <(echo "$2") | sha256sum | cut -c1-16)"; }

# built NAME VERSIONS: prints that folder, building it if this exact one is not there.
# A folder under its final name is always whole: it is built beside it and renamed.
built() {
    local name=$1 versions=$2 folder building
    folder=$(built_folder "$name" "$versions")
    (
        flock -n 9 || { echo "# waiting for another run that builds $name" >&2 && flock 9; }
        [ ! -d "$folder" ] || exit 0
        # With the lock held, what lies here was left by a build that was killed.
        find "$CACHE" -maxdepth 1 -name ".$name.*" -type d -exec rm -rf {} +
        building=$(mktemp -d "$CACHE/.$name.XXXXXX")
        chmod 755 "$building"
        echo "# building $name ($versions)" >&2
        local from=$SECONDS log=$CACHE/$name.log
        if ! bash "$VM_DIR/build/$name" "$building" >"$log" 2>&1; then
            tail -n 40 "$log" | sed 's/^/# /' >&2
            rm -rf "$building"
            exit 1
        fi
        echo "$versions" >"$building/made-from"
        mv -T "$building" "$folder"
        echo "# built $name in $((SECONDS - from)) s" >&2
    ) 9>"$CACHE/.$name.lock" || return 1
    touch "$folder"
    # Older ones, unused for a month, are only in the way.
    find "$CACHE" -maxdepth 1 -name "$name-*" -type d -mtime +30 -exec rm -rf {} +
    echo "$folder"
}

# --- what is built from this tree, static

# static_release PACKAGE: built in $STATIC.
STATIC=${CARGO_TARGET_DIR:-$PROJECT/target}/$MUSL/release
static_release() {
    local rust="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
    command -v cargo >/dev/null || die "cargo is missing; install Rust with: $rust"
    if ! [ -d "$(rustc --print sysroot)/lib/rustlib/$MUSL" ]; then
        command -v rustup >/dev/null || die "this Rust has no target $MUSL; install one that has: $rust"
        rustup target add "$MUSL" || die "no Rust target $MUSL: rustup target add $MUSL"
    fi
    command -v cc >/dev/null || need_packages gcc libc6-dev # Rust links with it
    note "building $1, static"
    (cd "$PROJECT" && cargo build --quiet --locked --release --target "$MUSL" --package "$1") || die "cargo build --release --target $MUSL --package $1"
}

# The binary under test: KPX_PREP=/path, else the release of this tree.
need_binary() {
    if [ -n "${KPX_PREP:-}" ]; then
        KPX_PREP=$(readlink -f "$KPX_PREP")
    else
        note "building kpx-prep-node for each architecture"
        KPX_PREP_NODE_PROGRAMS=$("$PROJECT/packaging/node-programs") || die "building kpx-prep-node: packaging/node-programs"
        export KPX_PREP_NODE_PROGRAMS
        static_release kpx-prep
        KPX_PREP=$STATIC/kpx-prep
    fi
    [ -x "$KPX_PREP" ] || die "no binary at $KPX_PREP"
}

# What guests and this machine count with (lab/): KPX_LAB=/path, else that of this tree.
need_lab() {
    if [ -z "${KPX_LAB:-}" ]; then
        static_release kpx-prep-lab
        KPX_LAB=$STATIC/kpx-lab
    fi
    [ -x "$KPX_LAB" ] || die "no program at $KPX_LAB"
}
