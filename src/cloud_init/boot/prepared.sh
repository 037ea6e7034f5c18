[ "$rc" = 0 ] || fail "this node is not prepared (kpx-prep node install: exit status $rc, reasons above); kubeadm was not run"
