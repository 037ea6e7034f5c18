# shellcheck shell=bash
# Debian packages of a release other than this machine's, by apt with state of its own: nothing here is installed on the
# machine, and its own package lists stay as they are. Sourced by the scripts and by build/*.

# The mirror this machine uses already, else Debian's.
debian_mirror() {
    local uri
    uri=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 2>/dev/null | sed -n 's/^Debian Debian //p' | head -n 1)
    echo "${uri:-http://deb.debian.org/debian}"
}

debian_security() {
    local uri
    uri=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 2>/dev/null | sed -n 's/^Debian Debian-Security //p' | head -n 1)
    echo "${uri:-http://deb.debian.org/debian-security}"
}

# suite_apt SUITE COMMAND ARGUMENT…: apt-get or apt-cache, seeing only that release.
suite_apt() {
    local suite=$1 command=$2 state=$CACHE/apt-$1
    shift 2
    "$command" -o "Dir::State=$state/state" -o "Dir::State::status=$state/status" -o "Dir::Cache=$state/cache" \
        -o "Dir::Etc::SourceList=$state/sources.list" -o Dir::Etc::SourceParts=- \
        -o Dir::Cache::pkgcache=pkgcache.bin -o Dir::Cache::srcpkgcache=srcpkgcache.bin \
        -o APT::Architecture=amd64 -o APT::Architectures=amd64 -o APT::Sandbox::User=root \
        -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

# suite_lists SUITE: fresh package lists, at most a week old; offline, older ones do.
suite_lists() {
    local suite=$1 state=$CACHE/apt-$1 keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    if [ -e "$state/fresh" ] && [ -n "$(find "$state/fresh" -mtime -7)" ]; then return 0; fi
    mkdir -p "$state"/{state/lists/partial,cache/archives/partial}
    : >"$state/status"
    {
        echo "deb [signed-by=$keyring] $(debian_mirror) $suite main"
        echo "deb [signed-by=$keyring] $(debian_mirror) $suite-updates main"
        echo "deb [signed-by=$keyring] $(debian_security) $suite-security main"
    } >"$state/sources.list"
    if suite_apt "$suite" apt-get update -qq; then touch "$state/fresh"; else [ -e "$state/fresh" ]; fi
}

# suite_version SUITE PACKAGE…: "package=version …" of what would be downloaded.
suite_version() {
    local suite=$1 found
    shift
    found=$(suite_apt "$suite" apt-cache policy "$@" |
        sed -n -e 's/^\([^ ].*\):$/\1/; t name' -e 's/^  Candidate: \([^(].*\)$/\1/; t candidate' -e 'd; :name' -e 'h; d; :candidate' -e 'x; G; s/\n/=/p')
    [ "$(echo "$found" | wc -l)" = $# ] || { echo "$suite: wanted $*, found only: $found" >&2; return 1; }
    echo "$found" | tr '\n' ' '
}

# suite_unpack SUITE FOLDER PACKAGE…: downloads and unpacks, keeping a merged /usr merged.
suite_unpack() {
    local suite=$1 folder=$2 debs deb
    shift 2
    debs=$(mktemp -d)
    # A package may have been superseded since the lists were read.
    if ! (cd "$debs" && suite_apt "$suite" apt-get download -q "$@"); then
        suite_apt "$suite" apt-get update -qq
        (cd "$debs" && suite_apt "$suite" apt-get download -q "$@")
    fi
    for deb in "$debs"/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$folder"
    done
    rm -rf "$debs"
}

# kernel_package SUITE: the package behind linux-image-cloud-amd64.
kernel_package() {
    suite_apt "$1" apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1
}
