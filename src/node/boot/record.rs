//! What the installed files record of the requests for which they were written.

use std::collections::BTreeMap;

use super::files::{ASKED_FOR, Existing, Kind, PATHS, is_ours, purpose};
use super::mechanism::Mechanism;
use super::request::NodeRequest;
use crate::kubernetes_version::KubernetesVersion;
use crate::mode::ProxyMode;

/// The requests recorded in the installed lists and scripts, one for each mode for which the node was prepared.
pub fn installed_requests(existing: &BTreeMap<&'static str, Existing>) -> Vec<NodeRequest> {
    ProxyMode::ALL.into_iter().filter_map(|mode| installed_request(existing, mode)).collect()
}

impl NodeRequest {
    /// With the version and the boot mechanism that were given for this mode before, or else for another one.
    #[must_use]
    pub fn remembering(self, existing: &BTreeMap<&'static str, Existing>) -> Self {
        let (own, others) = (installed_request(existing, self.mode), installed_requests(existing));
        let (minor, mechanism) = (self.minor, self.mechanism);
        let remembered = self.with(minor, mechanism, own.as_ref());
        others.into_iter().fold(remembered, |request, other| {
            let (minor, mechanism) = (request.minor, request.mechanism);
            request.with(minor, mechanism, Some(&other))
        })
    }
}

/// The request recorded for a mode in the installed list or script; `None` if there is no such file of kpx-prep.
pub fn installed_request(existing: &BTreeMap<&'static str, Existing>, mode: ProxyMode) -> Option<NodeRequest> {
    let of_mode = |kind| PATHS.iter().copied().find(|path| purpose(path) == Some((mode, kind)));
    [Kind::List, Kind::Script].into_iter().filter_map(of_mode).find_map(|path| match existing.get(path)? {
        Existing::File { content, .. } if is_ours(content) => {
            let asked = content.lines().find_map(|line| line.strip_prefix(ASKED_FOR))?;
            let mut words = asked.split_whitespace();
            let modules = words.next()?;
            let options: Vec<&str> = words.collect();
            let option = |name: &str| {
                options.chunks(2).find_map(|pair| (pair[0] == name).then(|| pair.get(1).copied()).flatten())
            };
            let minor = option("--kubernetes-version").and_then(|version| version.parse::<KubernetesVersion>().ok());
            let mechanism = option("--boot-mechanism").and_then(Mechanism::named);
            let scheduler = option("--scheduler");
            if mode == ProxyMode::Ipvs && scheduler.is_none() {
                return None;
            }
            let request = NodeRequest::parse(mode, modules, scheduler).ok()?;
            Some(request.with(minor.map(|version| version.minor()), mechanism, None))
        }
        _ => None,
    })
}
