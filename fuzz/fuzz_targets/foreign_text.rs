//! Text of others on its way to a terminal.
#![no_main]

use kpx_prep::report::foreign::{foreign, visible, visible_json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let obeyed =
        |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
    let line = foreign(text);
    assert!(!line.contains(obeyed) && line.chars().count() <= 301);
    assert!(!visible(text).contains(|c| c != '\n' && obeyed(c)));
    let json = serde_json::to_string(text).expect("JSON");
    let safe = visible_json(&json);
    assert!(!safe.contains(obeyed));
    assert_eq!(serde_json::from_str::<String>(&safe).expect("JSON"), text);
});
