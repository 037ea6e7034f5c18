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

# kernel_image SUITE
kernel_image() {
    local base package
    base=$(base_image) && suite_lists "$1" || return 1
    package=$(kernel_package "$1")
    BASE=$base KERNEL=$package built "kernel-$1" "$(suite_version "$1" "$package") $(basename "$base")"
}

# Needs root. The kernel that boots it is kernel_image bookworm.
debian_image() {
    local package
    suite_lists bookworm || return 1
    package=$(kernel_package bookworm)
    KERNEL=$package built debian "$(suite_version bookworm "$package" cloud-init systemd kmod)"
}
