# shellcheck shell=bash
# Which images there are and what each is made from; prints the folder of each. Sourced after lib.sh and apt.sh.

base_image() {
    suite_lists bookworm || return 1
    built base "$(suite_version bookworm bash coreutils grep kmod libc6 systemd)"
}

uml_image() {
    local base
    base=$(base_image) || return 1
    BASE=$base built uml "$(suite_version bookworm user-mode-linux) $(basename "$base")"
}

# The kernel with nftables takes minutes to build: only for the scenarios that need it. It is the newest one in Debian's
# backports: from 6.16 on User-Mode Linux needs no ptrace, and what a node does takes half the time and less.
uml_nft_image() {
    local uml source
    uml=$(uml_image) && backports_lists || return 1
    source=$(suite_apt trixie-backports apt-cache depends linux-source | sed -n 's/^ *Depends: \(linux-source-[0-9.]*\)$/\1/p' | head -n 1)
    UML=$uml SOURCE=$source built uml-nft "$(suite_version trixie-backports "$source") $(basename "$uml")"
}

# suite_lists for trixie's backports, which have neither updates nor security updates of their own.
backports_lists() {
    local suite=trixie-backports keyring=/usr/share/keyrings/debian-archive-keyring.gpg state
    state=$CACHE/apt-$suite
    if [ -e "$state/fresh" ] && [ -n "$(find "$state/fresh" -mtime -7)" ]; then return 0; fi
    mkdir -p "$state"/{state/lists/partial,cache/archives/partial}
    : >"$state/status"
    echo "deb [signed-by=$keyring] $(debian_mirror) $suite main" >"$state/sources.list"
    if suite_apt "$suite" apt-get update -qq; then touch "$state/fresh"; else [ -e "$state/fresh" ]; fi
}

NFT_PACKAGES="libedit2 libbsd0 libjansson4 libmd0 libmnl0 libnftables1 libnftnl11 libxtables12 nftables"

# nft_image SUITE [PACKAGE…]: those, and what else it needs to run there.
nft_image() {
    local suite=$1
    shift
    # Unquoted: a list.
    suite_lists "$suite" || return 1
    SUITE=$suite PACKAGES="$NFT_PACKAGES $*" built nft "$(suite_version "$suite" $NFT_PACKAGES "$@")"
}

# kernel_image SUITE
kernel_image() {
    local base package
    base=$(base_image) && suite_lists "$1" || return 1
    package=$(kernel_package "$1")
    BASE=$base KERNEL=$package built "kernel-$1" "$(suite_version "$1" "$package") $(basename "$base")"
}

# debian_image [SUITE]: needs root. The kernel that boots it is kernel_image SUITE.
debian_image() {
    local suite=${1:-bookworm} package
    suite_lists "$suite" || return 1
    package=$(kernel_package "$suite")
    SUITE=$suite KERNEL=$package built debian "$suite $(suite_version "$suite" "$package" cloud-init systemd kmod)"
}

# What a node has from Debian. kubectl, the tests' own judge, is the one of the cluster's folder if there is one. systemd
# does not run there: with it this is a host that has something to load modules at boot.
NODE_PACKAGES="busybox-static conntrack containerd containernetworking-plugins curl ipset iproute2 iptables ipvsadm jq kmod kubernetes-client
    mount nftables procps runc systemd util-linux"

# cluster_image [KUBERNETES]: the disk of a node. KUBERNETES is a folder as tests/cluster/control-plane prints it, which
# is the default. With NFTABLES set, its kernel is the one with nftables. Needs root.
cluster_image() {
    local kubernetes=${1:-} uml versions
    if [ -n "${NFTABLES:-}" ]; then uml=$(uml_nft_image); else uml=$(uml_image); fi || return 1
    [ -n "$kubernetes" ] || kubernetes=$(control_plane) || return 1
    versions=$(cluster_versions "$uml" "$kubernetes") || return 1
    UML=$uml KUBERNETES=$kubernetes PACKAGES=$NODE_PACKAGES built cluster "$versions"
}

# control_plane [--where]: KUBERNETES if set. Kubebuilder's folder would have no kubelet.
control_plane() { env -u KUBEBUILDER_ASSETS "$VM_DIR/../cluster/control-plane" "$@"; }

# given_sum FOLDER: of KUBERNETES, if set: somebody may fill the folder anew under its name.
given_sum() {
    [ -z "${KUBERNETES:-}" ] || (cd "$1" && cat etcd kube-apiserver kube-controller-manager kubeadm kubelet kube-proxy kubectl 2>/dev/null | sha256sum | sed 's/^\(.\{16\}\).*/ given-\1/')
}

# cluster_versions UML KUBERNETES: what the disk is made of.
cluster_versions() {
    local inputs packages
    inputs=$(cd "$VM_DIR" && cat containers/* node/init node/import | sha256sum | cut -c1-16)
    # Unquoted: a list.
    suite_lists bookworm && packages=$(suite_version bookworm $NODE_PACKAGES uml-utilities) || return 1
    echo "$packages $(basename "$1") $(basename "$2")$(given_sum "$2") inputs-$inputs"
}

# cluster_missing UML: what cluster_image would have to build: "kubernetes", "disk", or nothing.
cluster_missing() {
    local kubernetes versions
    kubernetes=$(control_plane --where)
    versions=$(cluster_versions "$1" "$kubernetes") || return 1
    if [ ! -d "$kubernetes" ]; then echo kubernetes; elif [ ! -d "$(built_folder cluster "$versions")" ]; then echo disk; fi
}
