//! One command of the documentation: its words as a shell takes them, and what the real command line says to them.
//!
//! How commands are written in the documentation:
//! - in a code block a command must parse as a whole; in running text it may be named without its arguments, but what is
//!   written there must exist;
//! - a word in upper case (`NODE`, `FILE`) is a placeholder, one of [`PLACEHOLDERS`];
//! - `…` cuts a command short: what stands before it must exist;
//! - comments, pipes and redirections end a command.

use clap::Parser as _;
use clap::error::ErrorKind;
use kpx_prep::cli::Cli;
use kpx_prep::mode::ProxyMode;

/// What may stand for a value, and a value of that kind.
const PLACEHOLDERS: &[(&str, &str)] = &[
    ("BACKUP", "kpx-prep-backup-0123456789"),
    ("DIR", "/mnt/image"),
    ("DURATION", "30s"),
    ("FILE", "config.yaml"),
    ("FOLDER", "man"),
    ("HASH", "0123"),
    ("HEX", "0123"),
    ("ID", "idle-timeout"),
    ("MODE", "ipvs"),
    ("N", "2"),
    ("NAME", "name"),
    ("NAMESPACE", "kube-system"),
    ("NODE", "node-1"),
    ("REGISTRY", "registry.example.com"),
    ("TAG", "1"),
    ("UID", "0123"),
    ("VERSION", "v1.36.3"),
];

/// The words of a command, as a shell would take them, up to a comment, a pipe, a redirection or the next command; whether `…` cut it.
pub(crate) fn words(command: &str) -> Result<(Vec<String>, bool), String> {
    let (mut words, mut word, mut quote): (Vec<String>, Option<String>, Option<char>) = (Vec::new(), None, None);
    for c in command.chars() {
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '#') if word.is_none() => break,
            (None, '|' | '&' | ';' | '>' | '<' | '(' | ')') => break,
            _ => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote does not end".to_owned());
    }
    words.extend(word);
    let cut = words.iter().position(|word| word == "…");
    words.truncate(cut.unwrap_or(words.len()));
    Ok((words, cut.is_some()))
}

/// A word with values in place of its placeholders; a list's `,…` is dropped.
fn filled(word: &str) -> Result<String, String> {
    let word = word.strip_suffix(",…").unwrap_or(word);
    let mut filled = String::new();
    for part in word.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        let name = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let is_placeholder = name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        let value = PLACEHOLDERS.iter().find(|(placeholder, _)| *placeholder == name).map(|(_, value)| *value);
        match value {
            Some(value) => filled.push_str(&part.replacen(name, value, 1)),
            None if is_placeholder => return Err(format!("{name} is no known placeholder")),
            None => filled.push_str(part),
        }
    }
    Ok(filled)
}

/// What is wrong with a command.
pub(crate) fn fault(command: &str, in_full: bool) -> Option<String> {
    judge(command, in_full).err().map(|why| format!("{command}\n    {why}"))
}

fn judge(command: &str, in_full: bool) -> Result<(), String> {
    let (words, cut) = words(command)?;
    let words = words.iter().map(|word| filled(word)).collect::<Result<Vec<_>, _>>()?;
    // What clap leaves to the command itself.
    let mode = words.iter().position(|word| word == "--mode").and_then(|at| words.get(at + 1));
    // Where kube-proxy goes altogether.
    let parks = words.iter().any(|word| word == "remediate") && mode.is_some_and(|mode| mode == "none");
    if let Some(mode) = mode.filter(|_| !parks) {
        mode.parse::<ProxyMode>().map_err(|error| error.to_string())?;
    }
    let why = match parse(&words) {
        Ok(()) => return Ok(()),
        Err(why) => why,
    };
    // With --help what is missing is not asked for, and what does not exist is an error all the same.
    let named = || parse(&[&words[..], &["--help".to_owned()]].concat());
    if in_full && !cut { Err(why) } else { named() }
}

fn parse(words: &[String]) -> Result<(), String> {
    match Cli::try_parse_from(words) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => Ok(()),
        Err(error) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}

#[test]
fn a_wrong_command_is_found() {
    for (command, in_full) in [
        ("kpx-prep status --no-such-flag", true),
        ("kpx-prep status --no-such-flag", false),
        ("kpx-prep no-such-command", true),
        ("kpx-prep no-such-command", false),
        ("kpx-prep node instal …", true),
        ("kpx-prep remediate --no-such-flag …", true),
        ("kpx-prep cloud-init", true),
        ("kpx-prep node", true),
        ("kpx-prep remediate --canary", true),
        ("kpx-prep remediate --timeout 5x", true),
        ("kpx-prep remediate --mode IPVS", true),
        ("kpx-prep remediate --mode bogus", true),
        ("kpx-prep node install --mode none", true),
        ("kpx-prep remediate --to BACKUP", true),
        ("kpx-prep remediate --canary WHATEVER", true),
        ("kpx-prep node install --boot-mechanism runit", true),
        ("kpx-prep status --context 'x", true),
    ] {
        assert!(fault(command, in_full).is_some(), "not found: {command}");
    }
    for (command, in_full) in [
        ("kpx-prep status -o json | jq '.nodes'", true),
        ("kpx-prep node leftovers || kpx-prep no-such-command", true),
        ("kpx-prep kubeadm-config > config.yaml", true),
        ("kpx-prep node check     # --no-such-flag", true),
        ("kpx-prep remediate --exclude-nodes NODE,… --timeout DURATION", true),
        ("kpx-prep cloud-init --role worker …", true),
        ("kpx-prep cloud-init", false),
        ("kpx-prep node", false),
        ("kpx-prep --version", false),
    ] {
        assert_eq!(fault(command, in_full), None);
    }
}
