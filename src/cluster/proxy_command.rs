//! A container's command line: whether it is kube-proxy's, and what its flags say.

use super::pod_objects::Container;
use crate::report::foreign::foreign;

/// Whether a container's command or image is kube-proxy.
pub(super) fn runs_kube_proxy(container: &Container) -> bool {
    let words = words(container);
    let runs = |name: &str| words.iter().any(|word| is_program(word, name));
    let repository = image_repository(&container.image);
    runs("kube-proxy")
        || repository.starts_with("kube-proxy")
        || repository.ends_with("-kube-proxy")
        || (repository == "hyperkube" && runs("proxy"))
}

/// Whether a word is this program: its name, or a path to it. Options and folders for data may end alike.
fn is_program(word: &str, name: &str) -> bool {
    const DATA: [&str; 4] = ["/var/", "/etc/", "/run/", "/tmp/"];
    let is_data = DATA.iter().any(|folder| word.starts_with(folder));
    word.rsplit('/').next() == Some(name) && !word.starts_with('-') && !word.contains('=') && !is_data
}

/// The words of kube-proxy's own command line: what follows it, up to the shell's next command.
pub(super) fn own_words(container: &Container) -> Vec<&str> {
    let words = words(container);
    let program = words.iter().rposition(|word| is_program(word, "kube-proxy"));
    let own = &words[program.map_or(0, |at| at + 1)..];
    let ends = |word: &&&str| matches!(**word, ";" | "|" | "||" | "&&" | "&");
    own.iter().take_while(|word| !ends(word)).copied().collect()
}

/// `kube-proxy-amd64` of `registry:5000/path/kube-proxy-amd64:v1.2.3@sha256:…`.
fn image_repository(image: &str) -> &str {
    let last = image.split('@').next().unwrap_or(image);
    let last = last.rsplit('/').next().unwrap_or(last);
    last.split(':').next().unwrap_or(last)
}

/// Command and arguments, those of a shell's `-c` taken apart too.
fn words(container: &Container) -> Vec<&str> {
    container.command.iter().chain(&container.args).flat_map(|word| word.split_whitespace()).collect()
}

/// The value of `--name=value` or `--name value`; the last one counts, as for kube-proxy.
pub(super) fn flag<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    let mut value = None;
    for (index, word) in words.iter().enumerate() {
        let Some(rest) = word.strip_prefix("--").and_then(|word| word.strip_prefix(name)) else { continue };
        if let Some(given) = rest.strip_prefix('=') {
            value = Some(given.trim_matches(['"', '\'']));
        } else if rest.is_empty() {
            value = words.get(index + 1).copied();
        }
    }
    value
}

/// Flags that count beside `--config`, and those of logging by how they begin (`Options.Complete` in
/// cmd/kube-proxy/app/options.go: the file replaces everything but these).
const COUNT_BESIDE_CONFIG: [&str; 9] =
    ["config", "hostname-override", "master", "cleanup", "init-only", "write-config-to", "v", "vmodule", "proxy-mode"];
const LOGGING: [&str; 8] =
    ["log", "alsologtostderr", "stderrthreshold", "skip-", "skip_", "one-output", "one_output", "add-dir-header"];

pub(super) fn ignored(words: &[&str]) -> Vec<String> {
    let names = words.iter().filter_map(|word| word.strip_prefix("--"));
    let names = names.map(|word| word.split('=').next().unwrap_or(word).replace('_', "-"));
    let counts =
        |name: &str| COUNT_BESIDE_CONFIG.contains(&name) || LOGGING.iter().any(|start| name.starts_with(start));
    let mut ignored: Vec<_> =
        names.filter(|name| !name.is_empty() && !counts(name)).map(|name| format!("--{}", foreign(&name))).collect();
    ignored.dedup();
    ignored
}

/// Where kube-proxy without `--config` tells its mode: `--metrics-port` completes an address without a port.
pub(super) fn metrics_port(words: &[&str]) -> Option<u16> {
    let address = flag(words, "metrics-bind-address").and_then(|address| address.rsplit_once(':')?.1.parse().ok());
    address.or_else(|| flag(words, "metrics-port")?.parse().ok()).filter(|port| *port > 0)
}
