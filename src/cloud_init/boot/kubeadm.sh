started=/var/lib/kpx-prep/kubeadm-started
if [ -e "$result" ]; then
  [ ! -e "$started" ] || fail "an earlier kubeadm $action did not finish. Run kubeadm reset -f, remove $started, and run $0 again"
  echo "kpx-prep boot: $result exists, so kubeadm $action was already run on this node; skipped"
  exit 0
fi
command -v kubeadm >/dev/null || fail "kubeadm is not installed"
mkdir -p "${started%/*}"
: > "$started"
