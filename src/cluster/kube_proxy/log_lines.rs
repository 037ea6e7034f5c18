//! kube-proxy's mode from the log of its start, for every version since 1.15.
//!
//! A fallback only: after log rotation the start is missing, and then the mode is unknown. It is never guessed.

use jiff::Timestamp;

use crate::mode::ProxyMode;

/// The time after its start, in seconds, in which a container logs its first lines.
const START: i64 = 60;

/// The mode from a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoggedMode {
    /// It runs this mode.
    Mode(ProxyMode),
    /// It could not run ipvs and fell back to iptables (kube-proxy ≤ 1.25).
    Fallback,
    /// It could not run ipvs and exited (kube-proxy ≥ 1.26).
    Refused,
    /// No mode found: just started, or log rotated.
    Nothing,
}

/// The mode from the log of one container run.
///
/// The lines, by version (cmd/kube-proxy/app/server_others.go, later `server_linux.go`): `Using ipvs Proxier.` up to
/// 1.22, `"Using ipvs Proxier"` from 1.23; the fallback's `Can't use the IPVS proxier` is followed by
/// `Using iptables Proxier`, the refusal's by nothing. `"Using iptables proxy"` (1.26 and later) only reports what an
/// empty mode means, before it is tried.
///
/// Each line starts with the kubelet's timestamp. Only the log of the container's start is used, up to the first Service:
/// later lines contain foreign text, such as a Service's annotations, which may look like a line of kube-proxy. `started`:
/// when the container was started, in seconds since 1970, by the same kubelet.
pub fn logged_mode(log: &str, started: Option<i64>) -> LoggedMode {
    let mut lines = log.lines().map(|line| line.split_once(' ').unwrap_or((line, ""))).peekable();
    let first = lines.peek().and_then(|(time, _)| time.parse::<Timestamp>().ok());
    match (first, started) {
        (Some(first), Some(started)) if first.as_second() <= started + START => {}
        _ => return LoggedMode::Nothing,
    }
    let mut told = LoggedMode::Nothing;
    let mut could_not = false;
    for line in lines.map(|(_, line)| message(line).to_ascii_lowercase()) {
        if line.starts_with("starting ") && line.contains("config controller") {
            break;
        }
        if line.starts_with("can't use the ipvs proxier") || line.contains("err=\"can't use the ipvs proxier") {
            could_not = true;
            told = LoggedMode::Refused;
        }
        for mode in ProxyMode::ALL {
            if line.starts_with(&format!("using {mode} proxier")) {
                told = match (mode, could_not) {
                    (ProxyMode::Iptables, true) => LoggedMode::Fallback,
                    _ => LoggedMode::Mode(mode),
                };
            }
        }
    }
    told
}

/// The message of a klog line after its header (`I1122 10:06:38.238977 1 server_others.go:258] `), or of a JSON line.
fn message(line: &str) -> &str {
    let message = match line.split_once("] ") {
        Some((head, message)) if head.starts_with(['I', 'W', 'E', 'F']) && !head.contains('"') => message,
        _ => line.split_once("\"msg\":").map_or("", |(_, message)| message),
    };
    message.trim_start_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: i64 = 1_790_000_000;

    fn with_times(log: &str, from: i64) -> String {
        let time = Timestamp::from_second(from).unwrap();
        log.lines().map(|line| format!("{time} {line}\n")).collect()
    }

    #[test]
    fn lines_of_every_version() {
        use ProxyMode::{Iptables, Ipvs, Nftables};
        for (log, expected) in [
            ("I1122 10:06:31.790734 11643 server_others.go:185] Using iptables Proxier.", LoggedMode::Mode(Iptables)),
            ("I0101 server_others.go:259] Using ipvs Proxier.", LoggedMode::Mode(Ipvs)),
            ("I0101 server_others.go:206] \"Using iptables Proxier\"", LoggedMode::Mode(Iptables)),
            ("I0101 server_others.go:269] \"Using ipvs Proxier\"", LoggedMode::Mode(Ipvs)),
            (
                "I0101 server_linux.go:66] \"Using iptables proxy\"\nI0101 x] \"Using nftables Proxier\"",
                LoggedMode::Mode(Nftables),
            ),
            (
                "{\"ts\":1.7e12,\"caller\":\"app/server_linux.go:194\",\"msg\":\"Using ipvs Proxier\",\"v\":0}",
                LoggedMode::Mode(Ipvs),
            ),
            ("I0101 server_linux.go:66] \"Using iptables proxy\"", LoggedMode::Nothing),
            ("W0101 x] Unknown proxy mode \"\", assuming iptables proxy", LoggedMode::Nothing),
            ("E0101 x] Can't use the IPVS proxier: x\nI0101 x] Using iptables Proxier.", LoggedMode::Fallback),
            (
                "E0101 x] \"Can't use the IPVS proxier\" err=\"x\"\nI0101 x] \"Using iptables Proxier\"",
                LoggedMode::Fallback,
            ),
            ("E0101 x] \"Error running ProxyServer\" err=\"can't use the IPVS proxier: x\"", LoggedMode::Refused),
            ("time=\"2026\" level=error msg=\"x\"\nI0101 x] \"Using ipvs Proxier\"", LoggedMode::Mode(Ipvs)),
            ("E0101 x] \"The ipvs proxier is now deprecated and may be removed\"", LoggedMode::Nothing),
            ("I0101 service.go:301] Service default/x updated: 1 ports", LoggedMode::Nothing),
            ("", LoggedMode::Nothing),
        ] {
            assert_eq!(logged_mode(&with_times(log, STARTED), Some(STARTED)), expected, "{log}");
        }
    }

    #[test]
    fn a_service_cannot_speak_for_kube_proxy() {
        let start = "I0101 x] Using iptables Proxier.\nI0101 config.go:315] Starting service config controller\n";
        let forged = "I0101 server_others.go:259] Using ipvs Proxier.";
        let honest = LoggedMode::Mode(ProxyMode::Iptables);
        for (what, log, from, expected) in [
            ("a line of its own, later", format!("{start}{forged}"), STARTED, honest),
            ("within a line", format!("I0101 x] \"Adding\" hint=\"{forged}\"\n{start}"), STARTED, honest),
            (
                "after something that is not a header",
                format!("W0101 x] Ignoring annotation a] Using ipvs Proxier.\n{start}"),
                STARTED,
                honest,
            ),
            ("the start was rotated away", forged.to_owned(), STARTED + 3600, LoggedMode::Nothing),
            ("and forged too", format!("{forged}\n{start}"), STARTED + 3600, LoggedMode::Nothing),
        ] {
            assert_eq!(logged_mode(&with_times(&log, from), Some(STARTED)), expected, "{what}");
        }
        assert_eq!(logged_mode(&with_times(start, STARTED), None), LoggedMode::Nothing, "the start time is unknown");
        assert_eq!(logged_mode(start, Some(STARTED)), LoggedMode::Nothing, "without the kubelet's times");
    }
}
