//! A container's command line: whether it runs kube-proxy, and its flags.

use crate::cluster::api::pod_objects::Container;
use crate::report::foreign::foreign;

/// The confidence that a container runs kube-proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sign {
    /// It runs something else.
    None,
    /// Its image is kube-proxy, but its command is unknown.
    Image,
    /// Its command is kube-proxy.
    Command,
}

/// Whether a container's command or image is kube-proxy.
pub(crate) fn runs_kube_proxy(container: &Container) -> bool {
    sign(container) > Sign::None
}

/// Checks whether a container runs kube-proxy. One that only cleans up after it, or uses its image for the tools in it, does
/// not.
pub(super) fn sign(container: &Container) -> Sign {
    let commands = commands(container);
    let repository = image_repository(&container.image);
    let is_hyperkube = repository == "hyperkube" || repository.starts_with("hyperkube-");
    let by_entry_point = is_hyperkube
        && container.command.is_empty()
        && matches!(container.args.first().map(String::as_str), Some("proxy" | "kube-proxy"));
    if let Some((command, at)) = call(&commands) {
        return if is_one_shot(&command[at..]) { Sign::None } else { Sign::Command };
    }
    if by_entry_point {
        return Sign::Command;
    }
    if !is_image(repository) || runs_a_tool(&commands) { Sign::None } else { Sign::Image }
}

/// `kube-proxy`, `kube-proxy-arm64`, `mirrored-kube-proxy`; not `kube-proxy-exporter`.
fn is_image(repository: &str) -> bool {
    const BUILDS: [&str; 8] = ["amd64", "arm64", "arm", "ppc64le", "s390x", "riscv64", "386", "windows"];
    let build = repository.strip_prefix("kube-proxy-").is_some_and(|rest| BUILDS.contains(&rest));
    let before = repository.strip_suffix("kube-proxy");
    build || before.is_some_and(|before| before.is_empty() || before.ends_with(|c: char| !c.is_ascii_alphanumeric()))
}

/// Whether the command is a tool, or an inline script that starts no other script.
fn runs_a_tool(commands: &[Vec<String>]) -> bool {
    const TOOLS: [&str; 13] = [
        "sleep",
        "tail",
        "ipvsadm",
        "ipset",
        "conntrack",
        "iptables",
        "iptables-save",
        "nft",
        "sysctl",
        "modprobe",
        "pause",
        "true",
        // Of kpx-prep's own helper.
        "kpx-prep-node",
    ];
    let Some(first) = commands.first().and_then(|command| command.first()) else { return false };
    let name = |word: &str| word.rsplit('/').next().unwrap_or(word).to_owned();
    if TOOLS.contains(&name(first).as_str()) {
        return true;
    }
    let is_shell = matches!(name(first).as_str(), "sh" | "bash" | "dash" | "ash");
    let mut words = commands.iter().flatten();
    let leads_on =
        |word: &str| word.contains("kube-proxy") || word.contains(".sh") || word.contains("$@") || word == "exec";
    is_shell && words.clone().any(|word| word == "-c") && !words.any(|word| leads_on(word))
}

/// Whether a word is this program: its name, or a path to it. Options and data paths may end in the same name.
pub(crate) fn is_program(word: &str, name: &str) -> bool {
    const DATA: [&str; 4] = ["/var/", "/etc/", "/run/", "/tmp/"];
    let is_data = DATA.iter().any(|folder| word.starts_with(folder));
    word.rsplit('/').next() == Some(name) && !word.starts_with('-') && !word.contains('=') && !is_data
}

/// The command that runs kube-proxy, and the position of its arguments. The last one of several that does not exit.
fn call(commands: &[Vec<String>]) -> Option<(&[String], usize)> {
    /// Programs that may have its name as an argument.
    const OTHERS: [&str; 21] = [
        "command", "pkill", "killall", "pgrep", "pidof", "kill", "echo", "printf", "which", "type", "grep", "cp", "mv",
        "rm", "ls", "chmod", "ln", "cat", "trap", "test", "[",
    ];
    let calls: Vec<_> = commands
        .iter()
        .filter_map(|command| {
            let program = command.iter().position(|word| is_program(word, "kube-proxy"));
            let hyperkube = command.windows(2).position(|pair| is_program(&pair[0], "hyperkube") && pair[1] == "proxy");
            let at = program.map(|at| at + 1).or(hyperkube.map(|at| at + 2))?;
            let named = |word: &String| OTHERS.contains(&word.as_str());
            (!command[..at].iter().any(named)).then_some((command.as_slice(), at))
        })
        .collect();
    calls.iter().rfind(|(command, at)| !is_one_shot(&command[*at..])).or(calls.last()).copied()
}

/// Whether kube-proxy exits at once with these flags.
fn is_one_shot(words: &[String]) -> bool {
    ["cleanup", "init-only", "write-config-to", "version", "help"].iter().any(|name| {
        let long = |word: &str| word.strip_prefix("--").is_some_and(|word| normal(word) == *name);
        words.iter().any(|word| long(word))
            || flag(words, name).is_some_and(|value| value == "true" || value.contains('/'))
    })
}

/// The arguments of kube-proxy, up to the shell's next command.
pub(super) fn own_words(container: &Container) -> Vec<String> {
    let commands = commands(container);
    match call(&commands) {
        Some((command, at)) => command[at..].to_vec(),
        None => commands.into_iter().next().unwrap_or_default(),
    }
}

/// `kube-proxy-amd64` of `registry:5000/path/kube-proxy-amd64:v1.2.3@sha256:…`.
fn image_repository(image: &str) -> &str {
    let last = image.split('@').next().unwrap_or(image);
    let last = last.rsplit('/').next().unwrap_or(last);
    last.split(':').next().unwrap_or(last)
}

/// A container's commands as words: one command, or those of a shell script. `$(NAME)` is expanded if its value is
/// known, as by the kubelet.
fn commands(container: &Container) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    for word in container.command.iter().chain(&container.args) {
        let word = expanded(word, container);
        if word.contains(char::is_whitespace) {
            take_apart(&word, &mut commands);
        } else {
            commands.extend(commands.is_empty().then(Vec::new));
            if let Some(command) = commands.last_mut() {
                command.push(word);
            }
        }
    }
    commands
}

/// A word with `$(NAME)` expanded once, as by the kubelet (`third_party/forked/golang/expansion`): values are not expanded
/// again. Expansion stops once the text is larger than any command.
fn expanded(word: &str, container: &Container) -> String {
    const MOST: usize = 1 << 16;
    let value_of = |name: &str| container.env.iter().rfind(|env| env.name == name)?.value.as_deref();
    let (mut text, mut rest) = (String::new(), word);
    while let Some((before, after)) = rest.split_once("$(").filter(|_| text.len() < MOST) {
        text.push_str(before);
        let known = after.split_once(')').and_then(|(name, after)| Some((value_of(name)?, after)));
        let (value, after) = known.unwrap_or(("$(", after));
        text.push_str(value);
        rest = after;
    }
    text + rest
}

/// Splits a shell script into commands and words. Not a shell: quotes are removed, separators end a command, everything else
/// is kept.
fn take_apart(text: &str, commands: &mut Vec<Vec<String>>) {
    let mut word = String::new();
    let mut chars = text.chars().peekable();
    // Within `$( )`, separators end another command.
    let mut depth = 0_usize;
    let mut before = ' ';
    while let Some(c) = chars.next() {
        let last = std::mem::replace(&mut before, c);
        match c {
            '\\' => match chars.next() {
                // A continued line.
                Some('\n') | None => before = last,
                Some(next) => word.push(next),
            },
            '\'' | '"' => word.extend(chars.by_ref().take_while(|next| *next != c)),
            '#' if last.is_whitespace() => while chars.next_if(|next| *next != '\n').is_some() {},
            '(' if depth > 0 || last == '$' => {
                depth += 1;
                word.push(c);
            }
            ')' if depth > 0 => {
                depth -= 1;
                word.push(c);
            }
            // `2>&1` and `&>file` redirect.
            '&' if last == '>' || chars.peek() == Some(&'>') => word.push(c),
            _ if depth > 0 => word.push(c),
            ';' | '&' | '|' | '(' | ')' | '\n' => {
                end_word(&mut word, commands);
                commands.push(Vec::new());
            }
            _ if c.is_whitespace() => end_word(&mut word, commands),
            _ => word.push(c),
        }
    }
    end_word(&mut word, commands);
}

fn end_word(word: &mut String, commands: &mut [Vec<String>]) {
    if let (false, Some(command)) = (word.is_empty(), commands.last_mut()) {
        command.push(std::mem::take(word));
    }
}

/// A flag's name: `_` is `-` (`WordSepNormalizeFunc` of k8s.io/component-base/cli/flag).
fn normal(name: &str) -> String {
    name.replace('_', "-")
}

/// The value of `--name=value` or `--name value`; the last one applies, as in kube-proxy.
pub(super) fn flag<'a>(words: &'a [String], name: &str) -> Option<&'a str> {
    let mut value = None;
    for (index, word) in words.iter().enumerate() {
        let Some(word) = word.strip_prefix("--") else { continue };
        match word.split_once('=') {
            Some((given, text)) if normal(given) == name => value = Some(text.trim_matches(['"', '\''])),
            None if normal(word) == name => value = words.get(index + 1).map(String::as_str),
            _ => {}
        }
    }
    value
}

/// Flags that apply together with `--config`, and prefixes of logging flags (`Options.Complete` in
/// cmd/kube-proxy/app/options.go: the file replaces everything but these).
const COUNT_BESIDE_CONFIG: [&str; 9] =
    ["config", "hostname-override", "master", "cleanup", "init-only", "write-config-to", "v", "vmodule", "proxy-mode"];
const LOGGING: [&str; 8] =
    ["log", "alsologtostderr", "stderrthreshold", "skip-", "skip_", "one-output", "one_output", "add-dir-header"];

pub(super) fn ignored(words: &[String]) -> Vec<String> {
    let names = words.iter().filter_map(|word| word.strip_prefix("--"));
    let names = names.map(|word| normal(word.split('=').next().unwrap_or(word)));
    let counts =
        |name: &str| COUNT_BESIDE_CONFIG.contains(&name) || LOGGING.iter().any(|start| name.starts_with(start));
    let mut ignored: Vec<_> =
        names.filter(|name| !name.is_empty() && !counts(name)).map(|name| format!("--{}", foreign(&name))).collect();
    ignored.dedup();
    ignored
}

/// The metrics port of kube-proxy without `--config`: `--metrics-port` completes an address without a port.
pub(super) fn metrics_port(words: &[String]) -> Option<u16> {
    let address = flag(words, "metrics-bind-address").and_then(|address| address.rsplit_once(':')?.1.parse().ok());
    address.or_else(|| flag(words, "metrics-port")?.parse().ok()).filter(|port| *port > 0)
}
