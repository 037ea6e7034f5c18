# For kubeadm init only: a joining machine takes the cluster's mode. cloud-init has the first file, Ignition the second.
for config in /run/kubeadm/kubeadm.yaml /etc/kubeadm.yml; do
  "$kpx" kubeadm-config --from "$config" --in-place --if-init "$@" ||
    fail "the proxy mode was not set in $config (reasons above); kubeadm was not run"
done
