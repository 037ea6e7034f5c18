//! The table of all checks: what each means, which commands report it, how to fix it, and the source of its rule.
//!
//! The data is in the YAML files in this folder. `kpx-prep checks` prints it, docs/checks.md is generated from it, and
//! `--ignore-preflight-errors` accepts only ids that are in it. Tests compare it with the ids that the code uses.

use std::fmt::Write as _;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::report::Level;
use crate::report::foreign::shortened;

const FILES: [&str; 3] = [include_str!("cluster.yaml"), include_str!("kubeadm.yaml"), include_str!("node.yaml")];

/// A command that has checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// `kpx-prep node install`
    #[serde(rename = "node install")]
    NodeInstall,
    /// `kpx-prep node check`
    #[serde(rename = "node check")]
    NodeCheck,
    /// `kpx-prep node remove`
    #[serde(rename = "node remove")]
    NodeRemove,
    /// `kpx-prep node survey`, which the node helper runs
    #[serde(rename = "node survey")]
    NodeSurvey,
    /// `kpx-prep node leftovers`
    #[serde(rename = "node leftovers")]
    NodeLeftovers,
    /// `kpx-prep node bridge`
    #[serde(rename = "node bridge")]
    NodeBridge,
    /// `kpx-prep node clean`
    #[serde(rename = "node clean")]
    NodeClean,
    /// `kpx-prep kubeadm-config`
    #[serde(rename = "kubeadm-config")]
    KubeadmConfig,
    /// `kpx-prep cloud-init`
    #[serde(rename = "cloud-init")]
    CloudInit,
    /// `kpx-prep ignition`
    #[serde(rename = "ignition")]
    Ignition,
    /// `kpx-prep capi`
    #[serde(rename = "capi")]
    Capi,
    /// `kpx-prep status`
    #[serde(rename = "status")]
    Status,
    /// `kpx-prep remediate`: preflight
    #[serde(rename = "remediate")]
    Remediate,
}

/// A check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Its stable id.
    pub id: String,
    /// The commands that report it.
    pub commands: Vec<Command>,
    /// Its levels, the most severe first; the level depends on the situation.
    pub levels: Vec<Level>,
    /// Whether `remediate --ignore-preflight-errors` can turn it into a warning: it is an error of `remediate` with which
    /// there is still something to go on with.
    #[serde(default = "yes")]
    pub ignorable: bool,
    /// What was found, on one line.
    pub title: String,
    /// What it means for the node or cluster.
    pub meaning: String,
    /// How to fix it.
    pub fix: String,
    /// A link to the documentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The source of the rule: a file of Kubernetes or Linux, a KEP, an issue, or kpx-prep itself.
    pub source: String,
}

impl Check {
    fn command_names(&self) -> String {
        let name = |command: &Command| {
            serde_json::to_value(command).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
        };
        self.commands.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    fn level_names(&self) -> String {
        self.levels.iter().map(|level| level.word()).collect::<Vec<_>>().join(", ")
    }
}

/// All checks, by id.
///
/// # Panics
/// If the embedded table is invalid, which a test excludes.
#[expect(clippy::expect_used, reason = "the table is part of the program; a test reads it")]
pub fn checks() -> &'static [Check] {
    static CHECKS: OnceLock<Vec<Check>> = OnceLock::new();
    CHECKS.get_or_init(|| {
        let read = |text: &&str| serde_yaml::from_str::<Vec<Check>>(text).expect("the table of checks");
        let mut all: Vec<Check> = FILES.iter().flat_map(read).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        for check in &mut all {
            check.ignorable &= check.commands.contains(&Command::Remediate) && check.levels.contains(&Level::Error);
        }
        all
    })
}

/// The check with this id.
pub fn check(id: &str) -> Option<&'static Check> {
    checks().iter().find(|check| check.id == id)
}

/// The check with this id. Case does not matter, as in kubeadm.
///
/// # Errors
/// If there is no such check, with the most similar id if one is similar.
pub fn find(id: &str) -> Result<&'static Check, String> {
    let wanted = id.trim().to_lowercase();
    if let Some(check) = check(&wanted) {
        return Ok(check);
    }
    // A typing error changes a few characters.
    let short: String = wanted.chars().take(60).collect();
    let nearest =
        checks().iter().map(|check| (strsim::levenshtein(&check.id, &short), check)).min_by_key(|(far, _)| *far);
    let nearest = nearest.filter(|(far, check)| *far <= check.id.len() / 3);
    let nearest = nearest.map(|(_, check)| format!(" (did you mean {}?)", check.id)).unwrap_or_default();
    Err(format!("there is no check {}{nearest}; list all with: kpx-prep checks", shortened(id, 60)))
}

fn yes() -> bool {
    true
}

/// The table as text: a block per check.
pub fn text(checks: &[Check]) -> String {
    let mut text = String::new();
    for check in checks {
        let _ = writeln!(text, "{} ({}; {})", check.id, check.level_names(), check.command_names());
        let _ = writeln!(text, "  {}", check.title);
        let _ = writeln!(text, "  meaning: {}", check.meaning);
        let _ = writeln!(text, "  fix:     {}", check.fix);
        if let Some(link) = &check.link {
            let _ = writeln!(text, "  see:     {link}");
        }
        let _ = writeln!(text, "  source:  {}\n", check.source);
    }
    text
}

/// The table as docs/checks.md.
pub fn markdown(checks: &[Check]) -> String {
    let mut text = String::from(
        "# Checks\n\nGenerated by `kpx-prep checks --markdown` from src/checks; do not edit. `kpx-prep checks -o json` prints the same data.\n\n\
         A check that reports an `error` of `remediate` stops the run; `--ignore-preflight-errors=ID,...` (or `all`) turns it into a\n\
         warning. The printed message names the object; this page explains the check.\n",
    );
    for check in checks {
        let _ = writeln!(text, "\n## {}\n\n**{}**\n", check.id, check.title);
        let _ = writeln!(text, "{}\n", check.meaning);
        let _ = writeln!(text, "- Fix: {}", check.fix);
        let ignorable = if check.ignorable { "; can be ignored" } else { "" };
        let _ = writeln!(text, "- Reported by: {} ({}{ignorable})", check.command_names(), check.level_names());
        if let Some(link) = &check.link {
            let _ = writeln!(text, "- See: <{link}>");
        }
        let _ = writeln!(text, "- Source: {}", check.source);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_texts_are_complete() {
        let all = checks();
        assert!(all.len() > 100, "{}", all.len());
        for pair in all.windows(2) {
            assert!(pair[0].id < pair[1].id, "{} twice", pair[0].id);
        }
        for check in all {
            let id = &check.id;
            assert!(id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{id}");
            assert!(!check.commands.is_empty() && !check.levels.is_empty(), "{id}");
            assert!(check.levels.windows(2).all(|pair| pair[0] > pair[1]), "{id}: levels by severity");
            for text in [&check.title, &check.meaning, &check.fix, &check.source] {
                assert!(!text.trim().is_empty() && text.is_ascii(), "{id}: {text}");
            }
            assert!(!check.title.ends_with('.'), "{id}: a title is not a sentence");
            assert!(check.link.as_ref().is_none_or(|link| link.starts_with("https://")), "{id}");
        }
    }

    #[test]
    fn ids_are_found() {
        for (given, id) in [("permissions", "permissions"), (" Foreign-Owner ", "foreign-owner")] {
            assert_eq!(find(given).map(|check| check.id.as_str()), Ok(id));
        }
        assert!(find("permission").unwrap_err().contains("did you mean permissions?"));
        assert!(find("unhealthy-pod").unwrap_err().contains("did you mean unhealthy-pods?"));
        for unlike in ["red", "", "\x1b[2J\n", &"x".repeat(100_000)] {
            let error = find(unlike).unwrap_err();
            assert!(!error.contains("did you mean") && error.len() < 200 && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn what_can_be_ignored() {
        let ignorable = |id: &str| check(id).unwrap().ignorable;
        assert!(ignorable("permissions") && ignorable("foreign-owner"));
        assert!(!ignorable("idle-timeout"), "a warning");
        assert!(!ignorable("boot-coverage"), "of another command");
        assert!(!ignorable("no-kube-proxy"), "nothing to go on with");
    }
}
