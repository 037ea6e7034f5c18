//! A host as files that somebody else wrote: `node install --dry-run`, which reads all of them. Slow: it makes a tree each time.
#![no_main]

use std::fs;

use kpx_prep::mode::ProxyMode;
use kpx_prep::node::install::{InstallOptions, install};
use kpx_prep::node::kube_proxy::nft_trial::Programs;
use kpx_prep::node::kube_proxy::process::toolbox::Known;
use kpx_prep::node::modules::modprobe::HostModprobe;
use kpx_prep::node::boot::request::NodeRequest;
use kpx_prep::node::root::Root;
use libfuzzer_sys::fuzz_target;

const FILES: [&str; 11] = [
    "proc/modules",
    "proc/cmdline",
    "proc/sys/kernel/osrelease",
    "etc/os-release",
    "etc/modprobe.d/a.conf",
    "etc/modules-load.d/a.conf",
    "etc/modules-load.d/kpx-prep-ipvs.conf",
    "etc/modules-load.d/kpx-prep-nftables.conf",
    "etc/sysconfig/modules/ipvs.modules",
    "lib/modules/6.1.0/modules.dep",
    "lib/modules/6.1.0/modules.builtin",
];

fuzz_target!(|input: Vec<(u8, Vec<u8>)>| {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, content) in [("proc/sys/kernel/osrelease", "6.1.0\n"), ("etc/os-release", "ID=debian\n")] {
        let place = folder.path().join(path);
        fs::create_dir_all(place.parent().expect("a folder")).expect("made");
        fs::write(place, content).expect("written");
    }
    for (choice, content) in input {
        let place = folder.path().join(FILES[usize::from(choice) % FILES.len()]);
        fs::create_dir_all(place.parent().expect("a folder")).expect("made");
        fs::write(place, content).expect("written");
    }
    let Ok(root) = Root::new(folder.path()) else { return };
    let known = Known::default();
    for mode in [ProxyMode::Ipvs, ProxyMode::Nftables] {
        let request = NodeRequest::parse(mode, "all", None).expect("a request");
        let options = InstallOptions { load: false, dry_run: true, force: false };
        let programs = Programs { root: &root, known: &known };
        if let Ok((report, _)) = install(&root, &request, options, &HostModprobe(&root), Some(&programs)) {
            let _ = kpx_prep::report::serialize(&report, kpx_prep::report::Format::Json);
        }
    }
});
