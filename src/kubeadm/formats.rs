//! The smaller formats: durations, feature gates, image repositories, sockets, certificate hashes.

/// kubeadm's `--feature-gates`: `Name=true,Other=false`, with Go's boolean spellings.
///
/// # Errors
/// If a part does not have that form.
pub fn feature_gates(text: &str) -> Result<Vec<(String, bool)>, String> {
    let mut gates: Vec<(String, bool)> = Vec::new();
    for part in text.split(',') {
        let (name, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is not Name=true or Name=false"))?;
        let (name, value) = (name.trim(), value.trim());
        let value = match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
            _ => return Err(format!("{name}: {value:?} must be true or false")),
        };
        if !name.starts_with(|c: char| c.is_ascii_uppercase()) || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(format!("{name:?} is not a feature gate name (such as PublicKeysECDSA)"));
        }
        if ["KubeProxyIPVS", "NFTablesProxyMode"].contains(&name) {
            return Err(format!(
                "{name} is a gate of kube-proxy, and kubeadm refuses it here; kpx-prep sets it if the Kubernetes version needs it"
            ));
        }
        if gates.iter().any(|(known, _)| known == name) {
            return Err(format!("{name} is given twice"));
        }
        gates.push((name.to_owned(), value));
    }
    Ok(gates)
}

/// An image repository: a registry and a path, without scheme and tag.
///
/// # Errors
/// What is wrong with it.
pub fn check_image_repository(text: &str) -> Result<(), String> {
    let mut parts = text.split('/');
    let registry = parts.next().unwrap_or_default();
    let (host, port) = registry.split_once(':').unwrap_or((registry, "1"));
    let host_is_fine = host
        .split('.')
        .all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    let port_is_fine = port.parse::<u16>().is_ok();
    // Lower case and digits; . _ __ and any number of - between them.
    let path_is_fine = parts.all(|part| {
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        let bytes = part.as_bytes();
        edge(bytes.first())
            && edge(bytes.last())
            && part.bytes().all(inner)
            && !part.contains("..")
            && !part.contains("___")
    });
    if host_is_fine && port_is_fine && path_is_fine && text.len() <= 255 {
        Ok(())
    } else {
        Err(format!(
            "{text:?} is not an image repository; use for example registry.k8s.io or registry.example.com:5000/k8s"
        ))
    }
}

/// The container runtime's socket: an absolute path, with or without `unix://`.
///
/// # Errors
/// What is wrong with it.
pub fn check_cri_socket(text: &str) -> Result<(), String> {
    let path = text.strip_prefix("unix://").unwrap_or(text);
    if path.starts_with('/') && path.len() > 1 && !path.contains(|c: char| c.is_control() || c.is_whitespace()) {
        Ok(())
    } else {
        Err(format!("{text:?} is not a socket; use for example unix:///run/containerd/containerd.sock"))
    }
}

/// The hash of a cluster's CA certificate: `sha256:` and 64 hexadecimal digits.
///
/// # Errors
/// If it does not have that form; the message names a command that prints it.
pub fn check_ca_cert_hash(text: &str) -> Result<(), String> {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    if digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(())
    } else {
        Err(format!(
            "{text:?} must be sha256: and 64 hexadecimal digits (kubeadm token create --print-join-command prints it)"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates() {
        assert_eq!(
            feature_gates("PublicKeysECDSA=true,IPv6DualStack=0"),
            Ok(vec![("PublicKeysECDSA".to_owned(), true), ("IPv6DualStack".to_owned(), false)])
        );
        for text in [
            "",
            "A",
            "A=",
            "A=yes",
            "=true",
            "A=true,",
            "a b=true",
            "A=true,A=false",
            "KubeProxyIPVS=true",
            "NFTablesProxyMode=true",
        ] {
            assert!(feature_gates(text).is_err(), "{text}");
        }
    }

    #[test]
    fn repositories_sockets_and_hashes() {
        for text in
            ["registry.k8s.io", "registry.example.com:5000/k8s/images", "localhost/a_b", "k8s.gcr.io", "[::1]/a"]
        {
            assert_eq!(check_image_repository(text).is_ok(), text != "[::1]/a", "{text}");
        }
        for text in [
            "",
            "https://registry.k8s.io",
            "registry.k8s.io/",
            "registry.k8s.io/A",
            "registry.k8s.io/pause:3.9",
            "a b",
            "a:x/b",
            "a/-b",
        ] {
            assert!(check_image_repository(text).is_err(), "{text}");
        }
        for text in ["unix:///run/containerd/containerd.sock", "/run/crio/crio.sock"] {
            assert_eq!(check_cri_socket(text), Ok(()));
        }
        for text in ["", "/", "unix://", "run/x", "tcp://1.2.3.4:1", "npipe:////./pipe/x", "/a b"] {
            assert!(check_cri_socket(text).is_err(), "{text}");
        }
        assert_eq!(check_ca_cert_hash(&format!("sha256:{}", "0a".repeat(32))), Ok(()));
        for text in [
            "",
            "sha256:",
            &"0a".repeat(32),
            &format!("sha256:{}", "0g".repeat(32)),
            &format!("sha512:{}", "0a".repeat(32)),
        ] {
            assert!(check_ca_cert_hash(text).is_err(), "{text}");
        }
    }
}
