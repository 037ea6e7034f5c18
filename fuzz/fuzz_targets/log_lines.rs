//! kube-proxy's log, of which others write parts: what comes after Services are heard of never tells the mode.
#![no_main]

use kpx_prep::cluster::kube_proxy::log_lines::logged_mode;
use libfuzzer_sys::fuzz_target;

const STARTED: i64 = 1_790_000_000;

fuzz_target!(|input: (&str, &str)| {
    let (start, later) = input;
    let timed = |text: &str| -> String { text.lines().map(|line| format!("2026-09-21T14:13:20Z {line}\n")).collect() };
    let heard = "2026-09-21T14:13:20Z I0921 1 config.go:315] Starting service config controller\n";
    let start = timed(start) + heard;
    assert_eq!(logged_mode(&start, Some(STARTED)), logged_mode(&(start.clone() + &timed(later)), Some(STARTED)));
    let _ = logged_mode(later, Some(STARTED));
});
