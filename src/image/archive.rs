//! An OCI image layout in a tar archive, with docker's `manifest.json` added, so that `ctr images import`,
//! `podman load`, `docker load` and `skopeo copy` can all read it.
//!
//! The format follows the image specification (<https://github.com/opencontainers/image-spec>) and docker's
//! `docker save`. It is reproducible: it does not depend on time or host.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::PROGRAM;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A binary to include in the image.
#[derive(Clone, Copy, Debug)]
pub struct Binary<'a> {
    /// Its platform, as [`super::elf::platform`] names it.
    pub platform: &'static str,
    /// The file.
    pub bytes: &'a [u8],
}

/// Files by their digest.
#[derive(Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Adds a file and returns its descriptor.
    fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let digest = digest(&bytes);
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        self.0.insert(digest.replace("sha256:", ""), bytes);
        descriptor
    }
}

/// `sha256:` and the hash in hexadecimal.
fn digest(bytes: &[u8]) -> String {
    let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hash}")
}

/// Compresses with gzip, without name and time in the header; halves the size.
fn packed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(bytes)?;
    packer.finish()
}

/// The path of a descriptor's file in the archive.
fn path_of(descriptor: &Value) -> String {
    format!("blobs/{}", descriptor["digest"].as_str().unwrap_or_default().replace(':', "/"))
}

/// The archive with an image named `name` (such as `localhost/kpx-prep:0.1.0`) for these binaries. With more than one
/// platform the name refers to an index of all; docker's own file lists only the first, as it has no index.
///
/// # Errors
/// Only errors of writing to memory.
pub fn archive(name: &str, binaries: &[Binary]) -> io::Result<Vec<u8>> {
    let mut blobs = Blobs::default();
    let (mut manifests, mut of_docker) = (Vec::new(), Vec::new());
    for binary in binaries {
        let layer = layer(binary.bytes)?;
        // The configuration has the digest of the uncompressed layer.
        let config = config(binary.platform, &digest(&layer));
        let layer = blobs.add(LAYER, packed(&layer)?);
        let config = blobs.add(CONFIG, config.to_string().into_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
            "annotations": labels(),
        });
        let mut descriptor = blobs.add(MANIFEST, manifest.to_string().into_bytes());
        descriptor["platform"] = json!({"architecture": binary.platform, "os": "linux"});
        manifests.push(descriptor);
        if of_docker.is_empty() {
            of_docker.push(json!({"Config": path_of(&config), "RepoTags": [name], "Layers": [path_of(&layer)]}));
        }
    }
    let mut named = match &mut manifests[..] {
        [only] => only.take(),
        all => {
            let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": all});
            blobs.add(INDEX, index.to_string().into_bytes())
        }
    };
    // containerd reads the whole name from its own annotation, others read the tag from the specification's.
    let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    named["annotations"] = json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]});

    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    add(&mut tar, "index.json", 0o644, index.to_string().as_bytes())?;
    add(&mut tar, "manifest.json", 0o644, Value::from(of_docker).to_string().as_bytes())?;
    for (hash, bytes) in &blobs.0 {
        add(&mut tar, &format!("blobs/sha256/{hash}"), 0o644, bytes)?;
    }
    tar.into_inner()
}

/// The only layer: the binary, and empty folders as mount points.
fn layer(binary: &[u8]) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, PROGRAM.trim_start_matches('/'), 0o755, binary)?;
    for folder in ["dev/", "etc/", "host/", "proc/", "sys/", "tmp/"] {
        let mut header = header(0o755, 0);
        header.set_entry_type(tar::EntryType::Directory);
        tar.append_data(&mut header, folder, io::empty())?;
    }
    tar.into_inner()
}

fn config(platform: &str, layer: &str) -> Value {
    json!({
        "architecture": platform,
        "os": "linux",
        "config": {"Entrypoint": [PROGRAM], "Cmd": ["--help"], "WorkingDir": "/", "Labels": labels()},
        "rootfs": {"type": "layers", "diff_ids": [layer]},
        "history": [{"created_by": "kpx-prep image"}],
    })
}

/// As <https://github.com/opencontainers/image-spec/blob/main/annotations.md> names them.
fn labels() -> Value {
    json!({
        "org.opencontainers.image.title": "kpx-prep",
        "org.opencontainers.image.description": env!("CARGO_PKG_DESCRIPTION"),
        "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
        "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
    })
}

fn header(mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn add(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    tar.append_data(&mut header(mode, bytes.len() as u64), path, bytes)
}
