//! Packs the node programs that kpx-prep carries: those in the folder that `KPX_PREP_NODE_PROGRAMS` names, one for each
//! architecture, as `packaging/node-programs` builds them. Without it, kpx-prep carries none.

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::DeflateEncoder;

const FOLDER: &str = "KPX_PREP_NODE_PROGRAMS";
/// As GOARCH names them.
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

fn main() {
    println!("cargo::rerun-if-env-changed={FOLDER}");
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    let mut list = String::from("[");
    if let Some(folder) = env::var_os(FOLDER).filter(|folder| !folder.is_empty()) {
        for architecture in ARCHITECTURES {
            let file = Path::new(&folder).join(architecture).join("kpx-prep-node");
            println!("cargo::rerun-if-changed={}", file.display());
            if !file.exists() {
                println!("cargo::warning={FOLDER}: {} does not exist: not carried", file.display());
                continue;
            }
            let program = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
            let packed = encoder.write_all(&program).and_then(|()| encoder.finish()).expect("in memory");
            fs::write(Path::new(&out).join(architecture), packed).expect("cargo's own folder");
            list.push_str(&format!(
                "(\"{architecture}\", include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{architecture}\"))),"
            ));
        }
    }
    list.push(']');
    fs::write(Path::new(&out).join("node_programs.rs"), list).expect("cargo's own folder");
}
