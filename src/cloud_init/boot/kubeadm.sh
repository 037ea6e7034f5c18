started=/var/lib/kpx-prep/kubeadm-started
if [ -e "$result" ]; then
  [ ! -e "$started" ] || fail "an earlier kubeadm $action did not finish: kubeadm reset -f, rm $started, and run $0 again"
  echo "kpx-prep boot: $result is there, so kubeadm $action has been run on this node; not again"
  exit 0
fi
command -v kubeadm >/dev/null || fail "kubeadm is not installed"
mkdir -p "${started%/*}"
: > "$started"
