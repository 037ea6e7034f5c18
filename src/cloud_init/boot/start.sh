#!/bin/sh
# Prepares this node and then runs kubeadm. Written by kpx-prep cloud-init; safe to run again.
# If it fails, cloud-init status reports "error" and /var/log/cloud-init-output.log has the reason.
set -eu
PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
fail() { echo "kpx-prep boot: $*" >&2; exit 1; }
