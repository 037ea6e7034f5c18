//! The helper's image: what is in the archive, and that nothing in it depends on time or place. Whether runtimes load
//! it, `tests/image-load` asks them.

use std::collections::BTreeMap;
use std::io::Read as _;

use kpx_prep::image::archive::{Binary, archive};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

const NAME: &str = "localhost/kpx-prep:1";
const AMD64: Binary = Binary { platform: "amd64", bytes: b"a program" };
const ARM64: Binary = Binary { platform: "arm64", bytes: b"another program" };

fn files(tar: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut archive = tar::Archive::new(tar);
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0, 0, 0));
        let (path, mode) = (entry.path().unwrap().display().to_string(), header.mode().unwrap());
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        assert!(files.insert(path, (mode, bytes)).is_none(), "twice in the archive");
    }
    files
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The object of a descriptor, if its digest and size are right.
fn followed<'a>(files: &'a BTreeMap<String, (u32, Vec<u8>)>, descriptor: &Value) -> &'a [u8] {
    let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let (_, bytes) = &files[&format!("blobs/sha256/{digest}")];
    assert_eq!(hash(bytes), digest);
    assert_eq!(descriptor["size"], bytes.len());
    bytes
}

fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut tar).unwrap();
    tar
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn one_platform() {
    let tar = archive(NAME, &[AMD64]).unwrap();
    assert_eq!(tar, archive(NAME, &[AMD64]).unwrap(), "the same bytes again");
    let files = files(&tar);
    assert_eq!(json(&files["oci-layout"].1)["imageLayoutVersion"], "1.0.0");
    let index = json(&files["index.json"].1);
    let [descriptor] = &index["manifests"].as_array().unwrap()[..] else { panic!("{index}") };
    assert_eq!(descriptor["annotations"]["io.containerd.image.name"], NAME);
    assert_eq!(descriptor["annotations"]["org.opencontainers.image.ref.name"], "1");
    assert_eq!(descriptor["platform"]["architecture"], "amd64");
    let manifest = json(followed(&files, descriptor));
    let config = json(followed(&files, &manifest["config"]));
    let [layer] = &manifest["layers"].as_array().unwrap()[..] else { panic!("{manifest}") };
    assert_eq!(config["config"]["Entrypoint"][0], "/kpx-prep");
    assert_eq!(config["config"]["Labels"]["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    let tar = unpacked(followed(&files, layer));
    assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", hash(&tar)), "that of the layer without gzip");
    let content = self::files(&tar);
    assert_eq!(content["kpx-prep"], (0o755, AMD64.bytes.to_vec()));
    assert!(content.contains_key("host/"), "the place for the node's own files: {:?}", content.keys());
    let of_docker = json(&files["manifest.json"].1);
    assert_eq!(of_docker[0]["RepoTags"][0], NAME);
    let (_, docker_config) = &files[of_docker[0]["Config"].as_str().unwrap()];
    assert_eq!(json(docker_config), config);
    assert!(files.contains_key(of_docker[0]["Layers"][0].as_str().unwrap()));
    assert_eq!(files.len(), 3 + 3, "no file that nothing refers to");
}

#[test]
fn two_platforms() {
    let tar = archive(NAME, &[AMD64, ARM64]).unwrap();
    let files = files(&tar);
    let index = json(&files["index.json"].1);
    let all = json(followed(&files, &index["manifests"][0]));
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], NAME);
    for (descriptor, binary) in all["manifests"].as_array().unwrap().iter().zip([AMD64, ARM64]) {
        assert_eq!(descriptor["platform"]["architecture"], binary.platform);
        let manifest = json(followed(&files, descriptor));
        let config = json(followed(&files, &manifest["config"]));
        assert_eq!(config["architecture"], binary.platform);
        assert_eq!(self::files(&unpacked(followed(&files, &manifest["layers"][0])))["kpx-prep"].1, binary.bytes);
    }
    assert_eq!(json(&files["manifest.json"].1).as_array().unwrap().len(), 1, "docker knows no index");
}

#[test]
fn what_cannot_be_an_image_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "#!/bin/sh\n").unwrap();
    let text = text.to_str().unwrap();
    let output = folder.path().join("out.tar");
    let output = output.to_str().unwrap();
    for (arguments, said) in [
        (vec!["--binary", text], "not a 64-bit Linux program"),
        (vec!["--binary", "/nowhere/kpx-prep"], "no such file"),
        // The binary under test is linked with the C library; the static release is tested by tests/image-load.
        (vec![], "dynamically linked"),
        (vec!["--name", "No Name"], "a name with a tag"),
        (vec!["--name", "name"], "a name with a tag"),
        (vec!["--name", "a//b:1"], "a name with a tag"),
        (vec!["--name", "registry:5000/a:"], "a name with a tag"),
    ] {
        let mut command = assert_cmd::Command::cargo_bin("kpx-prep").unwrap();
        let result = command.arg("image").args(["--output-file", output]).args(&arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&result.stderr).into_owned();
        assert_eq!(result.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
        assert!(result.stdout.is_empty() && !std::path::Path::new(output).exists(), "{arguments:?}");
    }
}
