//! The config itself, as JSON.

use serde_json::{Value, json};

use super::units::{KUBEADM, NODE, kubeadm_unit, node_unit};
use crate::cloud_init::MAX_BYTES;
use crate::cloud_init::binary::Binary;
use crate::cloud_init::options::{Config, NodeOptions};
use crate::cloud_init::script::{self, CONFIG, start};
use crate::kubeadm::render as kubeadm;

/// Where a binary that Ignition downloads is put: `/usr` is read-only on Flatcar.
pub const BINARY: &str = "/opt/bin/kpx-prep";
/// The script of [`NODE`].
const PREPARE: &str = "/etc/kpx-prep/prepare";
/// The script of [`KUBEADM`].
const BOOT: &str = "/etc/kpx-prep/boot";

/// A config that makes a machine a node.
///
/// # Errors
/// If it exceeds [`MAX_BYTES`], the smallest limit of a cloud for user-data.
pub fn render(options: &NodeOptions) -> Result<String, String> {
    let mut options = options.clone();
    let mut files = Vec::new();
    if let Some(Binary::Url { url, sha256 }) = options.binary.clone() {
        let contents = json!({"source": url, "verification": {"hash": format!("sha256-{sha256}")}});
        files.push(json!({"path": BINARY, "overwrite": true, "contents": contents, "mode": 0o755}));
        // Ignition has verified it. At later boots it may be a newer one.
        options.binary = Some(Binary::Path { path: BINARY.to_owned(), sha256: None });
    }
    if let Config::InUserData(config) = &options.config {
        files.push(file(CONFIG, &kubeadm::render(config), 0o600));
    }
    let mut units = Vec::new();
    let is_prepared = options.mode.traits().is_prepared;
    if is_prepared {
        files.push(file(PREPARE, &prepare(&options), 0o700));
        units.push(json!({"name": NODE, "enabled": true, "contents": node_unit(options.mode, PREPARE)}));
    }
    files.push(file(BOOT, &boot(&options), 0o700));
    let contents = kubeadm_unit(options.role, is_prepared, BOOT);
    units.push(json!({"name": KUBEADM, "enabled": true, "contents": contents}));
    let config = json!({
        "ignition": {"version": "3.1.0"},
        "storage": {"files": files},
        "systemd": {"units": units},
    });
    let text = format!("{config:#}\n");
    if text.len() >= MAX_BYTES {
        return Err(format!(
            "the config has {} bytes; the limit is {MAX_BYTES}. Use fewer or shorter options",
            text.len()
        ));
    }
    Ok(text)
}

/// An entry of `storage.files`, with its content as a data URL.
fn file(path: &str, content: &str, mode: u32) -> Value {
    // Its JSON form is base64.
    let encoded = json!(k8s_openapi::ByteString(content.as_bytes().to_vec()));
    let source = format!("data:;base64,{}", encoded.as_str().unwrap_or_default());
    json!({"path": path, "overwrite": true, "contents": {"source": source}, "mode": mode})
}

fn prepare(options: &NodeOptions) -> String {
    let comments = format!(
        "# Prepares this node for kube-proxy's {} mode. Written by kpx-prep ignition; run by {NODE} at every boot.\n",
        options.mode
    );
    [start(&comments), script::binary(options), script::prepare(options)].concat()
}

fn boot(options: &NodeOptions) -> String {
    let comments = format!(
        "# Runs kubeadm, once. Written by kpx-prep ignition; run by {KUBEADM}, safe to run again.\n\
         # If it fails, journalctl -u {KUBEADM} has the reason.\n"
    );
    let binary = match options.config {
        Config::InUserData(_) => String::new(),
        Config::MadeOnNode(_) => script::binary(options),
    };
    [start(&comments), binary, script::kubeadm(options)].concat()
}
