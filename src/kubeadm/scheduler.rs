//! IPVS schedulers: the names that a Kubernetes version and Linux accept.

use super::findings::Findings;
use super::given::Given;

/// The schedulers that kube-proxy's validation accepts up to 1.26.
const SCHEDULERS_TO_1_26: [&str; 10] = ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq"];
/// The schedulers of Linux, which kube-proxy from 1.27 on passes to it unchecked.
const SCHEDULERS_OF_LINUX: [&str; 14] =
    ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "dh", "sed", "nq", "fo", "ovf", "mh", "twos"];

/// Checks a scheduler's name and suggests the one that was probably meant.
pub(super) fn check_scheduler(given: &Given, minor: u32, findings: &mut Findings) {
    let name = given.text.as_str();
    let known: &[&str] = if minor < 27 { &SCHEDULERS_TO_1_26 } else { &SCHEDULERS_OF_LINUX };
    if known.contains(&name) {
        if name == "twos" {
            findings.warn("scheduler", format!("{}: twos needs Linux 6.12 or newer on every node", given.place));
        }
        return;
    }
    let bare = name.trim().to_ascii_lowercase();
    let bare = bare.strip_prefix("ip_vs_").unwrap_or(&bare);
    let message = if known.contains(&bare) {
        format!("{name:?} is not an IPVS scheduler; did you mean {bare}?")
    } else if SCHEDULERS_OF_LINUX.contains(&name) {
        format!(
            "kube-proxy of Kubernetes 1.{minor} refuses {name:?} (1.27 and newer accept it); choose from {}",
            known.join(" ")
        )
    } else {
        format!("{name:?} is not an IPVS scheduler of Linux; choose from {}", known.join(" "))
    };
    findings.problem(&given.place, message);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(name: &str, minor: u32) -> Vec<String> {
        let mut findings = Findings::default();
        check_scheduler(&Given { place: "x".to_owned(), text: name.to_owned() }, minor, &mut findings);
        findings.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn schedulers_by_version() {
        for (name, minor, right) in [
            ("rr", 20, true),
            ("nq", 26, true),
            ("mh", 26, false),
            ("mh", 27, true),
            ("twos", 36, true),
            ("twos", 26, false),
            ("RR", 36, false),
            ("ip_vs_lc", 36, false),
            ("ftp", 36, false),
            ("", 36, false),
            ("roundrobin", 26, false),
        ] {
            assert_eq!(problems(name, minor).is_empty(), right, "{name} on 1.{minor}");
        }
        assert!(problems("ip_vs_LC", 36)[0].ends_with("did you mean lc?"));
    }
}
