//! The documentation against the code: every `kpx-prep` command in it goes through the real command line, and every option, `make`
//! target, link, path and check id in it exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use kpx_prep::cli::Cli;

#[path = "docs/command.rs"]
mod command;
#[path = "docs/markdown.rs"]
mod markdown;

use command::fault;
use markdown::Code;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All of the documentation, as paths below the repository.
fn documents() -> Vec<PathBuf> {
    let named = ["README.md", "SECURITY.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    let folders =
        ["ansible/README.md", "cloud-init/README.md", "docs/schema/README.md", "kubeadm/README.md", "tests/README.md"];
    let guides = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let guides = guides.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut all: Vec<PathBuf> = named.iter().chain(&folders).map(PathBuf::from).collect();
    all.extend(guides.map(|path| path.strip_prefix(root()).unwrap().to_owned()));
    all.sort();
    all
}

fn read(document: &Path) -> String {
    fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{}: {error}", document.display()))
}

/// Looks at every document, and fails with all faults at once.
fn every_document(mut look: impl FnMut(&Path, &str, &Code) -> Vec<String>) {
    let mut faults = Vec::new();
    for document in documents() {
        let text = read(&document);
        let found = match Code::of(&text) {
            Ok(code) => look(&document, &text, &code),
            Err(why) => vec![why],
        };
        faults.extend(found.into_iter().map(|fault| format!("{}: {fault}", document.display())));
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn every_command_parses() {
    let (mut in_full, mut named) = (0, 0);
    every_document(|_, _, code| {
        let commands = code.commands();
        in_full += commands.iter().filter(|(_, in_full)| *in_full).count();
        named += commands.iter().filter(|(_, in_full)| !*in_full).count();
        commands.into_iter().filter_map(|(command, in_full)| fault(command, in_full)).collect()
    });
    println!("{in_full} commands in code blocks, {named} in running text");
    assert!(in_full >= 90 && named >= 45, "only {in_full} and {named} commands were found");
}

/// Every option of every command.
fn options(command: &clap::Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|argument| Some(format!("--{}", argument.get_long()?)));
    own.chain(command.get_subcommands().flat_map(options)).collect()
}

#[test]
fn every_option_exists() {
    // Of kube-proxy, iptables, and the scripts of the tests.
    const OTHERS: [&str; 6] = ["--bench", "--cleanup", "--config", "--full", "--proxy-mode", "--random-fully"];
    let mut command = Cli::command();
    command.build();
    let known = options(&command);
    let mut seen = 0;
    every_document(|_, _, code| {
        let named = code.spans.iter().filter(|span| span.starts_with("--"));
        let named: Vec<_> =
            named.flat_map(|span| span.split([' ', '=', ','])).filter(|w| w.starts_with("--")).collect();
        seen += named.len();
        named
            .into_iter()
            .filter(|word| !known.contains(*word) && !OTHERS.contains(word))
            .map(ToOwned::to_owned)
            .collect()
    });
    assert!(seen >= 80, "only {seen} options were found");
}

#[test]
fn every_make_target_exists() {
    let makefile = read("Makefile".as_ref());
    let targets: BTreeSet<&str> = makefile.lines().filter_map(|line| Some(line.split_once(':')?.0)).collect();
    let mut seen = 0;
    every_document(|_, _, code| {
        let called = code.lines.iter().chain(&code.spans).filter_map(|line| line.strip_prefix("make "));
        let called = called.filter_map(|rest| rest.split_whitespace().next());
        let called: Vec<_> = called.filter(|word| !word.contains('=')).collect();
        seen += called.len();
        called.into_iter().filter(|target| !targets.contains(target)).map(|target| format!("make {target}")).collect()
    });
    assert!(seen >= 20, "only {seen} targets were found");
}

/// An anchor as GitHub makes it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut seen = 0;
    every_document(|document, text, _| {
        let targets = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
        let targets: Vec<_> = targets.filter(|target| !target.contains("://")).collect();
        seen += targets.len();
        targets.into_iter().filter_map(|target| broken(document, target)).collect()
    });
    assert!(seen >= 50, "only {seen} links were found");
}

fn broken(document: &Path, target: &str) -> Option<String> {
    let (path, wanted) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let folder = root().join(document).parent().unwrap().to_owned();
    let file = if path.is_empty() { root().join(document) } else { folder.join(path) };
    if !file.exists() {
        return Some(format!("{target}: there is no such file"));
    }
    let wanted = wanted?;
    let text = fs::read_to_string(&file).unwrap();
    let mut headings =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    (!headings.any(|heading| anchor(heading) == wanted)).then(|| format!("{target}: there is no such heading"))
}

#[test]
fn every_path_exists() {
    let sources: Vec<String> = walkdir::WalkDir::new(root().join("src"))
        .into_iter()
        .map(|entry| format!("/{}", entry.unwrap().path().strip_prefix(root()).unwrap().display()))
        .collect();
    let mut seen = 0;
    every_document(|document, _, code| {
        let is_path = |span: &&String| {
            let folders = ["src/", "tests/", "ansible/", "kubeadm/", "cloud-init/", "docs/", "fuzz/"];
            folders.iter().any(|folder| span.starts_with(folder)) && !span.contains([' ', '*', '…', '<'])
        };
        let is_source = |span: &String| Path::new(span).extension().is_some_and(|extension| extension == "rs");
        let whole = code.spans.iter().filter(is_path);
        let mut missing: Vec<String> = whole.clone().filter(|path| !root().join(path).exists()).cloned().collect();
        seen += whole.count();
        // There a file of a room that was named just before is named by the end of its path.
        if document == Path::new("ARCHITECTURE.md") {
            let ends = code.spans.iter().filter(|span| is_source(span) && !is_path(span) && !span.contains('*'));
            missing.extend(ends.filter(|end| !sources.iter().any(|path| path.ends_with(&format!("/{end}")))).cloned());
        }
        missing.into_iter().map(|path| format!("{path} does not exist")).collect()
    });
    assert!(seen >= 40, "only {seen} paths were found");
}

#[test]
fn every_check_id_exists() {
    let mut seen = 0;
    every_document(|_, _, code| {
        let ids = code.spans.iter().filter_map(|span| span.strip_prefix('[')?.strip_suffix(']'));
        let ids: Vec<_> = ids.collect();
        seen += ids.len();
        ids.into_iter()
            .filter(|id| kpx_prep::checks::check(id).is_none())
            .map(|id| format!("[{id}]: no such check"))
            .collect()
    });
    assert!(seen >= 40, "only {seen} ids were found");
}

#[test]
fn the_readme_is_one_page() {
    let lines = read("README.md".as_ref()).lines().count();
    assert!(lines <= 120, "{lines} lines: move what is more to docs/");
}

/// The README's table is the one of `kpx-prep --help`.
#[test]
fn the_readme_has_the_exit_statuses() {
    let readme = read("README.md".as_ref());
    let lines = kpx_prep::exit_code::HELP.lines().skip(1).filter_map(|line| line.trim().split_once(' '));
    for (status, meaning) in lines.map(|(status, meaning)| (status, meaning.trim())) {
        assert!(readme.contains(&format!("| {status} | {meaning} |")), "README.md does not say: {status} {meaning}");
    }
}
