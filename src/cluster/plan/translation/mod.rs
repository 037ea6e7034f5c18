//! What becomes of the settings of kube-proxy's configuration when its mode changes. Pure.
//!
//! Which mode reads which setting is that of Kubernetes 1.34: `pkg/proxy/apis/config/v1alpha1/conversion.go` (the periods of
//! each mode's own section; `masqueradeAll` of `nftables` in nftables mode, else of `iptables`), `defaults.go` beside it, and
//! `cmd/kube-proxy/app/server_linux.go` (`createProxier`; `platformApplyDefaults`: node ports on the primary addresses in
//! nftables mode). What a mode does with it: `pkg/proxy/{iptables,ipvs,nftables}/proxier.go`.

mod change;
mod notes;
mod settings;

use serde::Serialize;
use serde_json::Value as Json;

use crate::mode::ProxyMode;
use crate::proxy_config::ProxyConfig;
use crate::report::foreign::shortened;
use change::Change;
use notes::note;
use settings::{SETTINGS, Setting};

pub use change::Becomes;

/// A setting that has a meaning in the old or the new mode, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Translation {
    /// Its dotted path.
    pub setting: &'static str,
    /// Its value in the live configuration; null if it is not set.
    pub value: Json,
    /// What becomes of it.
    pub becomes: Becomes,
    /// The setting that has the same meaning in the new mode, with the value that this run leaves there; for
    /// [`Becomes::MustBeSet`], with the value that would keep the behaviour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Equivalent>,
    /// What it means for the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether the cluster behaves differently after the change, or must be looked at.
    #[serde(skip)]
    pub matters: bool,
}

/// A setting with its value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Equivalent {
    /// Its dotted path.
    pub setting: &'static str,
    /// Its value; null for the default.
    pub value: Json,
}

/// What becomes of the settings of `live` when kube-proxy 1.`minor` changes its mode, with `planned` as the new configuration.
/// In the order of kube-proxy's types; empty if the mode does not change.
pub fn translate(
    live: &ProxyConfig,
    planned: &ProxyConfig,
    (from, to): (ProxyMode, ProxyMode),
    minor: u32,
) -> Vec<Translation> {
    let change = Change { from, to, minor };
    if from == to {
        return Vec::new();
    }
    let known = SETTINGS.iter().filter(|setting| setting.is_read_by(minor));
    known.flat_map(|setting| rows(setting, live, planned, change)).collect()
}

fn rows(setting: &Setting, live: &ProxyConfig, planned: &ProxyConfig, change: Change) -> Vec<Translation> {
    let (old, new) = (setting.path(change.from), setting.path(change.to));
    let row = |path: &'static str, becomes, to: Option<Equivalent>, matters| {
        let value = live.value(path).cloned().unwrap_or_default();
        let note = note(path, becomes, &value, change);
        Translation { setting: path, value, becomes, to, note, matters }
    };
    let planned_at = |path: &'static str| planned.value(path).cloned().unwrap_or_default();
    let is_there = |path: &str| live.value(path).is_some();
    let differs = |path: &str| live.value(path) != planned.value(path);
    let is_set = |path: &str, mode| {
        setting.effective(live.value(path), mode, change.minor) != setting.default(mode, change.minor)
    };
    match (old, new) {
        (Some(old), Some(new)) => {
            let before = setting.effective(live.value(old), change.from, change.minor);
            let after = setting.effective(planned.value(new), change.to, change.minor);
            let counterpart = (old != new).then(|| Equivalent { setting: new, value: planned_at(new) });
            if differs(new) {
                let to = Some(Equivalent { setting: new, value: planned_at(new) });
                return vec![row(old, Becomes::Set, to, false)];
            }
            if before == after {
                let becomes = if old == new { Becomes::Kept } else { Becomes::Translated };
                let matters = setting.is_worth_a_look(&before, change.from, change.to);
                return if is_there(old) || matters {
                    vec![row(old, becomes, counterpart, matters)]
                } else {
                    Vec::new()
                };
            }
            if is_set(old, change.from) || old == new {
                let value = if is_set(old, change.from) { live.value(old).cloned() } else { None };
                let to = Equivalent { setting: new, value: value.unwrap_or(before) };
                return vec![row(old, Becomes::MustBeSet, Some(to), true)];
            }
            let mut rows = Vec::new();
            if is_there(old) {
                rows.push(row(old, Becomes::Translated, counterpart, false));
            }
            if is_set(new, change.to) {
                rows.push(row(new, Becomes::TakesEffect, None, true));
            }
            rows
        }
        (Some(old), None) => {
            // What was switched off is not lost.
            let lost = is_set(old, change.from) && live.value(old) != Some(&Json::Bool(false));
            if is_there(old) { vec![row(old, Becomes::NoEffect, None, lost)] } else { Vec::new() }
        }
        (None, Some(new)) => {
            if differs(new) {
                let to = Some(Equivalent { setting: new, value: planned_at(new) });
                return vec![row(new, Becomes::Set, to, false)];
            }
            if is_there(new) { vec![row(new, Becomes::TakesEffect, None, is_set(new, change.to))] } else { Vec::new() }
        }
        (None, None) => Vec::new(),
    }
}

impl Translation {
    /// It as a line: setting, value, what becomes of it, and what that means.
    pub fn line(&self) -> String {
        let said = |value: &Json| match value {
            Json::Null => "not set".to_owned(),
            Json::String(text) => shortened(text, 60),
            value => shortened(&value.to_string(), 60),
        };
        let to = self.to.as_ref().map(|to| format!("{}: {}", to.setting, said(&to.value)));
        let becomes = match (self.becomes, to) {
            (Becomes::Kept, _) => "kept".to_owned(),
            (Becomes::Translated, to) => format!("becomes {}", to.unwrap_or_default()),
            (Becomes::Set, to) => format!("set to {}", to.unwrap_or_default()),
            (Becomes::MustBeSet, to) => format!("to keep it, set {}", to.unwrap_or_default()),
            (Becomes::NoEffect, _) => "no effect".to_owned(),
            (Becomes::TakesEffect, _) => "takes effect".to_owned(),
        };
        let note = self.note.as_ref().map(|note| format!("; {note}")).unwrap_or_default();
        format!("{}: {} -> {becomes}{note}", self.setting, said(&self.value))
    }
}
