//! kube-proxy's configuration as it is in the cluster: read, judged and edited.
#![no_main]

use kpx_prep::proxy_config::{edit, read, target};
use kpx_prep::yaml::Value;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| {
    let (minor, text) = input;
    // A run reads it first, and goes on only with what it could read.
    let Ok(config) = read(text) else { return };
    let _ = target(&config.mode, u32::from(minor % 50));
    let settings = [(vec!["mode"], Value::from("ipvs")), (vec!["ipvs", "scheduler"], Value::from("rr"))];
    if let Ok(edited) = edit(text, &settings) {
        let config = read(&edited).expect("what was edited can be read");
        assert_eq!(config.mode, "ipvs");
    }
});
