//! The modules that a shell script in /etc/sysconfig/modules certainly loads when it is run at boot.
//!
//! RHEL's `loadmodules` runs the executable scripts one by one (initscripts, `usr/libexec/initscripts/loadmodules`; before
//! RHEL 8 `usr/lib/systemd/rhel-loadmodules`, before systemd `rc.sysinit`): `[ -x $file ] && $file`. This is not a shell: it
//! evaluates only simple lines, and ignores everything from the first line on that it does not understand. A module counts
//! as loaded only if the script certainly loads it.

use std::collections::BTreeSet;

use super::files;
use super::shell_words::{Token, Word, tokens};
use crate::node::modules::name::{canonical, is_module_name};

/// Commands without effect on the following lines.
const HARMLESS: [&str; 7] = ["echo", "printf", "true", ":", "logger", "lsmod", "depmod"];
/// Commands among them that cannot fail, so that the script continues under `set -e`.
const CANNOT_FAIL: [&str; 4] = ["echo", "printf", "true", ":"];
/// Variables that change which program runs, or how it treats its arguments.
const DANGEROUS: [&str; 8] =
    ["PATH", "IFS", "MODPROBE_OPTIONS", "LD_PRELOAD", "LD_LIBRARY_PATH", "BASH_ENV", "ENV", "SHELLOPTS"];

/// The modules that a script certainly loads: those of kpx-prep's own script as installed, else those in plain `modprobe`
/// lines before anything that may end the script or skip a line.
pub fn names_in_script(text: &str) -> BTreeSet<String> {
    if let Some(names) = files::mandatory_of_script(text) {
        return names;
    }
    let mut names = BTreeSet::new();
    // A carriage return becomes part of the interpreter's or module's name.
    if text.contains(['\r', '\0']) {
        return names;
    }
    let Some(mut shell) = Shell::new(text) else { return names };
    // A module that is unloaded somewhere may not be loaded at the end.
    if text.contains("rmmod") || text.contains("modprobe -r") || text.contains("--remove") {
        return names;
    }
    let mut lines = text.lines().skip(1);
    while let Some(line) = lines.next() {
        let mut line = line.to_owned();
        // A backslash does not continue a comment.
        while !line.trim_start().starts_with('#') && line.ends_with('\\') {
            line.pop();
            let Some(next) = lines.next() else { return names };
            line.push_str(next);
        }
        if !shell.run(&line, &mut names) {
            break;
        }
    }
    names
}

/// The part of the shell's state that decides whether the next line runs.
struct Shell {
    /// `set -e`: a failing command ends the script.
    errexit: bool,
    /// `set -u`: an unset variable ends the script.
    nounset: bool,
}

impl Shell {
    /// From the first line, which names the interpreter. Without one, execve(2) refuses the file, and the caller decides
    /// whether it runs.
    fn new(text: &str) -> Option<Self> {
        let mut words = text.lines().next()?.strip_prefix("#!")?.split_whitespace();
        let mut shell = words.next()?;
        if shell.ends_with("/env") {
            shell = words.next()?;
        }
        if !matches!(shell.rsplit('/').next()?, "sh" | "bash" | "dash" | "ash" | "ksh") {
            return None;
        }
        let mut new = Self { errexit: false, nounset: false };
        for option in words {
            if !new.set(option, None) {
                return None;
            }
        }
        Some(new)
    }

    /// Evaluates a line. Returns whether the following lines can be evaluated.
    fn run(&mut self, line: &str, names: &mut BTreeSet<String>) -> bool {
        let Some(tokens) = tokens(line) else { return false };
        let commands: Vec<&[Token]> = tokens.split(|token| matches!(token, Token::Then(";"))).collect();
        commands.into_iter().filter(|command| !command.is_empty()).all(|command| self.run_list(command, names))
    }

    /// `A && B || C`: the first one certainly runs, the others may.
    fn run_list(&mut self, list: &[Token], names: &mut BTreeSet<String>) -> bool {
        let mut commands = Vec::new();
        for part in list.split(|token| matches!(token, Token::Then(_))) {
            let words: Vec<&Word> =
                part.iter().filter_map(|token| if let Token::Word(word) = token { Some(word) } else { None }).collect();
            commands.push(words);
        }
        let guarded = matches!(
            list,
            [.., Token::Then("||"), Token::Word(word)] if matches!(word.text.as_str(), "true" | ":")
        );
        let several = commands.len() > 1;
        for (rank, words) in commands.iter().enumerate() {
            if self.nounset && words.iter().any(|word| word.varies) {
                return false;
            }
            let Some(effect) = effect(words) else { return false };
            match effect {
                Effect::Loads(modules) if rank == 0 => names.extend(modules),
                Effect::Sets(options) if !several && !self.apply(&options) => return false,
                Effect::Assigns | Effect::Sets(_) if several => return false,
                _ => {}
            }
            if self.errexit && !guarded && matches!(effect_of(words), MayFail::Yes) {
                return false;
            }
        }
        true
    }

    fn apply(&mut self, options: &[String]) -> bool {
        let mut options = options.iter();
        while let Some(option) = options.next() {
            let named = option.ends_with('o').then(|| options.next().map(String::as_str)).flatten();
            if !self.set(option, named) {
                return false;
            }
        }
        true
    }

    /// One argument of `set`, such as `-eu`, with the long name for an `o` in it.
    fn set(&mut self, option: &str, named: Option<&str>) -> bool {
        let Some((on, letters)) = option
            .strip_prefix('-')
            .map(|rest| (true, rest))
            .or_else(|| option.strip_prefix('+').map(|rest| (false, rest)))
        else {
            return false;
        };
        letters.chars().all(|letter| match (letter, named) {
            ('e', _) | ('o', Some("errexit")) => {
                self.errexit = on;
                true
            }
            ('u', _) | ('o', Some("nounset")) => {
                self.nounset = on;
                true
            }
            ('x' | 'v', _) | ('o', Some("pipefail" | "xtrace" | "verbose")) => true,
            // `-n` runs nothing; other options are unknown.
            _ => false,
        }) && !letters.is_empty()
    }
}

/// The effect of a known command.
enum Effect {
    Loads(BTreeSet<String>),
    Sets(Vec<String>),
    Assigns,
    Nothing,
}

enum MayFail {
    Yes,
    No,
}

fn effect_of(words: &[&Word]) -> MayFail {
    match words.first() {
        Some(word) if word.text == "set" || CANNOT_FAIL.contains(&word.text.as_str()) => MayFail::No,
        Some(word) if is_assignment(word) => MayFail::No,
        Some(word) if word.text == "export" => MayFail::No,
        _ => MayFail::Yes,
    }
}

/// `None` for an unknown command, because of which the script may end or skip lines.
fn effect(words: &[&Word]) -> Option<Effect> {
    let (command, arguments) = words.split_first()?;
    if command.varies {
        return None;
    }
    match command.text.as_str() {
        "modprobe" | "/sbin/modprobe" | "/usr/sbin/modprobe" => Some(Effect::Loads(modprobe_arguments(arguments))),
        "set" if arguments.iter().all(|word| !word.varies) => {
            Some(Effect::Sets(arguments.iter().map(|word| word.text.clone()).collect()))
        }
        name if HARMLESS.contains(&name) => Some(Effect::Nothing),
        "export" if arguments.iter().all(|word| is_assignment(word)) => Some(Effect::Assigns),
        _ if words.iter().all(|word| is_assignment(word)) => Some(Effect::Assigns),
        _ => None,
    }
}

/// `NAME=value` with a constant value, of a variable on which no other command depends.
fn is_assignment(word: &Word) -> bool {
    let Some((name, value)) = word.text.split_once('=') else { return false };
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    // kpx-prep's script and many others set a path that contains modprobe.
    let path = name == "PATH" && value.split(':').any(|folder| matches!(folder, "/sbin" | "/usr/sbin"));
    plain && !word.varies && (path || !DANGEROUS.contains(&name))
}

/// The modules that `modprobe` loads with these arguments; none if they make it do anything else.
fn modprobe_arguments(arguments: &[&Word]) -> BTreeSet<String> {
    let mut several = false;
    let mut modules = Vec::new();
    let mut options = true;
    for word in arguments {
        match word.text.as_str() {
            "--" if options => options = false,
            "--all" if options => several = true,
            "--quiet" | "--verbose" | "--syslog" if options => {}
            text if options && text.starts_with('-') => {
                if text.len() < 2 || !text[1..].chars().all(|letter| matches!(letter, 'a' | 'q' | 'v' | 's')) {
                    return BTreeSet::new();
                }
                several |= text.contains('a');
            }
            _ => modules.push(*word),
        }
    }
    // Without -a, the arguments after the first name are module parameters.
    let count = if several { modules.len() } else { 1 };
    let plain = |word: &&&Word| !word.varies && is_module_name(&word.text);
    modules.iter().take(count).filter(plain).map(|word| canonical(&word.text)).collect()
}

#[cfg(test)]
mod tests;
