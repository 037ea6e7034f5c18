//! `kubeadm-config --from`: other documents stay byte for byte; nothing panics.
#![no_main]

use kpx_prep::kubeadm::existing_file::complete;
use kpx_prep::kubeadm::findings::Findings;
use kpx_prep::kubeadm::raw_options::{RawOptions, RawProxyOptions};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| {
    let (choice, text) = input;
    let proxy = RawProxyOptions {
        mode: (choice & 1 == 1).then(|| "ipvs".to_owned()),
        scheduler: (choice & 2 == 2).then(|| "wlc".to_owned()),
        strict_arp: (choice & 4 == 4).then_some(true),
        exclude_cidrs: if choice & 8 == 8 { vec!["10.0.0.0/8".to_owned()] } else { Vec::new() },
        ..RawProxyOptions::default()
    };
    let kubernetes_version = (choice & 16 == 16).then(|| "v1.30.1".to_owned());
    let options = RawOptions { kubernetes_version, proxy, ..RawOptions::default() };
    let mut findings = Findings::default();
    let _ = complete("fuzz.yaml", text, &options, &mut findings);
});
