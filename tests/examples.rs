//! The examples in `kubeadm/` and `cloud-init/` are what the binary writes; `BLESS=1` writes them again.

use std::fs;
use std::path::Path;

use support::golden::Goldens;
use support::kpx_prep;

#[allow(dead_code, reason = "each test uses a part of it")]
mod support;

const HASH: &str = "sha256:7c2e69131a36ae2a042a339b33381c6d0d43887e2de83720eff5359e26aec866";
const SHA256: &str = "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c";

/// File, command, arguments.
const EXAMPLES: &[(&str, &str, &[&str])] = &[
    (
        "kubeadm/v1.20-ipvs.yaml",
        "kubeadm-config",
        &["--kubernetes-version", "stable-1.20", "--pod-network-cidr", "10.244.0.0/16"],
    ),
    (
        "kubeadm/v1.22-ipvs.yaml",
        "kubeadm-config",
        &["--kubernetes-version", "stable-1.22", "--pod-network-cidr", "10.244.0.0/16"],
    ),
    (
        "kubeadm/v1.30-ipvs.yaml",
        "kubeadm-config",
        &["--kubernetes-version", "stable-1.30", "--pod-network-cidr", "10.244.0.0/16"],
    ),
    (
        "kubeadm/v1.31-ipvs.yaml",
        "kubeadm-config",
        &["--kubernetes-version", "stable-1.31", "--pod-network-cidr", "10.244.0.0/16"],
    ),
    (
        "kubeadm/v1.36-ipvs.yaml",
        "kubeadm-config",
        &[
            "--kubernetes-version",
            "stable-1.36",
            "--control-plane-endpoint",
            "k8s.example.com:6443",
            "--pod-network-cidr",
            "10.244.0.0/16",
            "--service-cidr",
            "10.96.0.0/16",
            "--scheduler",
            "lc",
            "--strict-arp",
            "--tcp-timeout",
            "2h",
        ],
    ),
    (
        "kubeadm/v1.36-ipvs-dual-stack.yaml",
        "kubeadm-config",
        &[
            "--kubernetes-version",
            "stable-1.36",
            "--pod-network-cidr",
            "10.244.0.0/16,fd00:10:244::/56",
            "--service-cidr",
            "10.96.0.0/16,fd00:10:96::/112",
        ],
    ),
    (
        "kubeadm/v1.37-ipvs.yaml",
        "kubeadm-config",
        &["--kubernetes-version", "stable-1.37", "--pod-network-cidr", "10.244.0.0/16"],
    ),
    (
        "kubeadm/v1.40-ipvs.yaml",
        "kubeadm-config",
        &["--kubernetes-version", "stable-1.40", "--pod-network-cidr", "10.244.0.0/16"],
    ),
    (
        "kubeadm/v1.43-nftables.yaml",
        "kubeadm-config",
        &["--kubernetes-version", "stable-1.43", "--mode", "nftables", "--pod-network-cidr", "10.244.0.0/16"],
    ),
    (
        "cloud-init/control-plane.yaml",
        "cloud-init",
        &[
            "--role",
            "control-plane",
            "--kubernetes-version",
            "v1.36.3",
            "--control-plane-endpoint",
            "k8s.example.com:6443",
            "--pod-network-cidr",
            "10.244.0.0/16",
            "--binary-url",
            "https://example.com/kpx-prep",
            "--sha256",
            SHA256,
        ],
    ),
    (
        "cloud-init/control-plane-join.yaml",
        "cloud-init",
        &[
            "--role",
            "control-plane-join",
            "--kubernetes-version",
            "v1.36.3",
            "--control-plane-endpoint",
            "k8s.example.com:6443",
            "--discovery-token-ca-cert-hash",
            HASH,
            "--node-token-file",
            "/run/kubeadm/token",
            "--node-certificate-key-file",
            "/run/kubeadm/certificate-key",
            "--binary-url",
            "https://example.com/kpx-prep",
            "--sha256",
            SHA256,
        ],
    ),
    (
        "cloud-init/worker.yaml",
        "cloud-init",
        &[
            "--role",
            "worker",
            "--kubernetes-version",
            "v1.36.3",
            "--control-plane-endpoint",
            "k8s.example.com:6443",
            "--discovery-token-ca-cert-hash",
            HASH,
            "--node-token-file",
            "/run/kubeadm/token",
            "--binary-url",
            "https://example.com/kpx-prep",
            "--sha256",
            SHA256,
        ],
    ),
];

#[test]
fn examples_are_what_the_binary_writes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut goldens = Goldens::default();
    for (file, command, args) in EXAMPLES {
        let output = kpx_prep(command, root).args(*args).output().unwrap();
        assert!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
        goldens.compare(&root.join(file), &output.stdout);
    }
    goldens.end(EXAMPLES.len());
}

#[test]
fn no_example_is_without_a_rule() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let versions = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).unwrap();
        entries.map(|entry| format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy())).collect::<Vec<_>>()
    };
    let is_config = |file: &String| {
        file.strip_prefix("cloud-init/")
            .or(file.strip_prefix("kubeadm/v"))
            .is_some_and(|name| Path::new(name).extension().is_some_and(|extension| extension == "yaml"))
    };
    for file in versions("kubeadm").into_iter().chain(versions("cloud-init")).filter(is_config) {
        assert!(EXAMPLES.iter().any(|(known, ..)| *known == file), "{file} is not generated");
    }
}
