//! Which mode a `remediate` without `--mode` means. Pure.
//!
//! Before Kubernetes 1.35: ipvs. From there on ipvs is deprecated (see [`policy`]), and it is not chosen for the operator: a
//! cluster that is configured for ipvs stays with it, and for any other the mode must be named.

use super::request::{Goal, Request};
use crate::cluster::kube_proxy::daemon_set::ConfigSource;
use crate::cluster::observe::facts::ClusterFacts;
use crate::kubeadm::given::Given;
use crate::mode::{ProxyMode, policy};

/// What a `remediate` without `--mode` has to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModeChoice {
    /// kube-proxy's minor version.
    minor: u32,
    /// The mode that is configured now; `None` if kube-proxy does not start with it.
    configured: Option<ProxyMode>,
    /// The modes that this version runs, each with the command that chooses it; the recommended one first.
    modes: Vec<(ProxyMode, String)>,
}

impl ModeChoice {
    /// What must be asked before a plan can be made; `None` if the request has its mode, or there is nothing to plan for.
    pub fn needed(request: &Request, facts: &ClusterFacts) -> Option<Self> {
        let Goal::Settings(settings) = &request.goal else { return None };
        let minor = facts.minor();
        let kept = policy(ProxyMode::Ipvs, minor);
        if settings.mode.is_some() || kept.as_ref().is_ok_and(|policy| policy.warning.is_none()) {
            return None;
        }
        let configured = facts.target().ok();
        if configured == Some(ProxyMode::Ipvs) && kept.is_ok() {
            return None;
        }
        // What cannot be edited is refused, whatever the mode.
        let editable = facts.kube_proxy.as_ref().is_some_and(|kube_proxy| kube_proxy.config != ConfigSource::Flags)
            && facts.config.as_ref().is_some_and(|config| config.parsed.is_ok());
        let modes = [ProxyMode::Nftables, ProxyMode::Ipvs, ProxyMode::Iptables].into_iter();
        let modes =
            modes.filter(|mode| policy(*mode, minor).is_ok()).map(|mode| (mode, facts.remediate_to(mode.name())));
        editable.then(|| Self { minor, configured, modes: modes.collect() })
    }

    /// Why there is no default mode.
    fn reason(&self) -> String {
        let ipvs = if self.offers(ProxyMode::Ipvs) { "deprecates" } else { "no longer has" };
        let now = self.configured.map(|mode| format!("; now configured: {mode}")).unwrap_or_default();
        format!("Kubernetes 1.{} {ipvs} ipvs mode, so there is no default mode{now}", self.minor)
    }

    fn offers(&self, mode: ProxyMode) -> bool {
        self.modes.iter().any(|(offered, _)| *offered == mode)
    }

    /// The question, with what each answer means; the answer is expected on the last line.
    pub fn question(&self) -> String {
        let mut text = format!("{}.\n", self.reason());
        for (mode, _) in &self.modes {
            let about = match mode {
                ProxyMode::Nftables => {
                    "the successor of ipvs. Every node needs kernel 5.13 or newer. What changes: node ports answer on\n            \
                     the primary addresses of a node only, and there are no schedulers. Coming from ipvs, it goes by\n            \
                     way of iptables: docs/leaving-ipvs.md"
                }
                ProxyMode::Ipvs => {
                    "deprecated since 1.35: kube-proxy warns. It needs a feature gate from 1.40 and is removed in 1.43"
                }
                ProxyMode::Iptables => "not deprecated; nothing new is needed on the nodes",
            };
            text.push_str(&format!("  {:<8}  {about}\n", mode.name()));
        }
        let names: Vec<_> = self.modes.iter().map(|(mode, _)| mode.name()).collect();
        format!("{text}Mode ({}): ", names.join(", "))
    }

    /// The mode that an answer names.
    ///
    /// # Errors
    /// Why it names none, and what to do.
    pub fn answered(&self, answer: &str) -> Result<ProxyMode, String> {
        let answer = answer.trim();
        let mode = answer.parse::<ProxyMode>().map_err(|error| error.to_string());
        let mode = mode.and_then(|mode| policy(mode, self.minor).map(|_| mode).map_err(|refused| refused.to_string()));
        mode.map_err(|why| {
            let why = if answer.is_empty() { "no mode was chosen".to_owned() } else { why };
            format!("{why}; nothing was changed. Run one of:\n{}", self.commands())
        })
    }

    /// What to say where nobody can be asked.
    pub fn refusal(&self) -> String {
        format!("{}, and --mode is required; nothing was changed. Run one of:\n{}", self.reason(), self.commands())
    }

    /// A command for each mode, one on a line.
    fn commands(&self) -> String {
        let lines = self.modes.iter().map(|(_, command)| format!("  {command}"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl Request {
    /// Sets the mode, as `--mode` does.
    pub fn choose(&mut self, mode: ProxyMode) {
        if let Goal::Settings(settings) = &mut self.goal {
            settings.mode = Some(Given { place: "--mode".to_owned(), text: mode.name().to_owned() });
        }
    }
}
