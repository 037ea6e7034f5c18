//! The YAML editor: an edit that is made changes one key only, and making it again changes nothing.
#![no_main]

use kpx_prep::yaml::{Value, append_document, parse, set};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| {
    let (choice, text) = input;
    let paths: [&[&str]; 4] = [&["mode"], &["ipvs", "scheduler"], &["featureGates", "KubeProxyIPVS"], &["new"]];
    let values = [Value::from("ipvs"), Value::Bool(true), Value::strings(&["10.0.0.0/8"]), Value::from("yes")];
    let (path, value) = (paths[usize::from(choice & 3)], &values[usize::from(choice >> 2 & 3)]);
    let document = usize::from(choice >> 4 & 1);
    if let Ok(edited) = set(text, document, path, value) {
        assert!(parse(&edited).is_ok_and(|documents| documents[document].root.get(path).is_some()));
        assert_eq!(set(&edited, document, path, value).as_deref(), Ok(edited.as_str()));
    }
    if let Ok(longer) = append_document(text, "a: 1\n") {
        assert!(longer.starts_with(text));
    }
});
