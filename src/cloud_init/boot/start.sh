set -eu
[ -z "$PATH" ] || PATH=$PATH:
PATH=$PATH/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/bin
export PATH
fail() { echo "kpx-prep boot: $*" >&2; exit 1; }
