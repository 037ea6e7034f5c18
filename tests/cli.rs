//! The command line as a whole: help, exit statuses, generated completions and manual pages.

use std::process::{Command, Output};

use clap::{CommandFactory as _, Parser as _};
use kpx_prep::cli::Cli;

fn kpx_prep(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kpx-prep")).args(arguments).output().unwrap()
}

/// Every command that does something, as the words that lead to it.
fn commands() -> Vec<Vec<String>> {
    fn collect(command: &clap::Command, path: &[String], all: &mut Vec<Vec<String>>) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let path = [path, &[sub.get_name().to_owned()]].concat();
            collect(sub, &path, all);
            all.push(path);
        }
    }
    let mut all = Vec::new();
    let mut command = Cli::command();
    command.build();
    collect(&command, &[], &mut all);
    all
}

#[test]
fn the_definition_is_valid() {
    Cli::command().debug_assert();
}

#[test]
fn help_of_every_command_has_an_example() {
    let commands = commands();
    assert!(commands.len() >= 6, "{commands:?}");
    for command in commands {
        let mut words: Vec<&str> = command.iter().map(String::as_str).collect();
        words.push("--help");
        let output = kpx_prep(&words);
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{words:?}");
        assert!(help.is_ascii(), "{words:?}: not ASCII, which some locales cannot show:\n{help}");
        let example = help.split_once("Example").map(|(_, rest)| rest.contains("kpx-prep"));
        assert_eq!(example, Some(true), "{words:?} has no example:\n{help}");
    }
}

/// The commands in the examples of a help text, each as its words: what a shell would run.
fn examples(help: &str) -> Vec<Vec<String>> {
    let (_, examples) = help.split_once("Example").unwrap_or_default();
    let (_, examples) = examples.split_once('\n').unwrap_or_default();
    let lines = examples.replace("\\\n", " ");
    let words = lines.lines().flat_map(|line| line.split(" # ").next().unwrap_or_default().split(['|', '>', '&']));
    let commands = words.map(|command| command.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    commands.filter(|words| words.first().is_some_and(|word| word == "kpx-prep")).collect()
}

#[test]
fn examples_in_help_texts_are_valid() {
    let mut count = 0;
    for path in commands() {
        let mut command = Cli::command();
        command.build();
        let command = path.iter().fold(&command, |command, name| command.find_subcommand(name).unwrap());
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for example in examples(&help) {
            count += 1;
            if let Err(error) = Cli::try_parse_from(&example) {
                panic!("{}: {error}", example.join(" "));
            }
        }
        assert!(!examples(&help).is_empty(), "{path:?}: no example in {help:?}");
    }
    assert!(count > 25, "only {count} examples were found");
}

/// Those that only print a file are run, with the files that they name in the current folder.
#[test]
fn examples_that_print_a_file_work_as_written() {
    let mut count = 0;
    for name in ["kubeadm-config", "cloud-init", "ignition", "capi", "completions", "checks"] {
        let help = String::from_utf8(kpx_prep(&[name, "--help"]).stdout).unwrap();
        for example in examples(&help) {
            count += 1;
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("token"), "07401b.f395accd246ae52d\n").unwrap();
            let config = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n";
            let mut run = assert_cmd::Command::new(env!("CARGO_BIN_EXE_kpx-prep"));
            run.args(&example[1..]).current_dir(folder.path()).write_stdin(config).assert().success();
        }
    }
    assert!(count > 8, "only {count} examples were found");
}

/// An operator reads the safe path first: a dry run, then one node.
#[test]
fn remediate_leads_with_the_safe_path() {
    let help = String::from_utf8(kpx_prep(&["remediate", "--help"]).stdout).unwrap();
    let examples = examples(&help);
    assert_eq!(examples[0][1..], ["remediate", "--dry-run"]);
    assert!(examples[1].contains(&"--pause-after-canary".to_owned()), "{examples:?}");
    let headings = ["Options:", "Nodes:", "Node helper:", "Rollout:", "Clean-up:", "Rollback:", "Cluster:"];
    let places: Vec<_> = headings.iter().map(|heading| help.find(&format!("\n{heading}\n"))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}\n{help}");
}

#[test]
fn help_lists_every_exit_status() {
    let help = String::from_utf8(kpx_prep(&["--help"]).stdout).unwrap();
    for status in ["0  ", "1  ", "2  ", "3  ", "4  ", "5  ", "130"] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(status)), "{status}: {help}");
    }
}

#[test]
fn wrong_usage_is_2_and_silent_on_stdout() {
    for arguments in
        [&["--no-such-flag"][..], &["no-such-command"], &[], &["node", "install", "--root", "/nonexistent"]]
    {
        let output = kpx_prep(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn completions_and_manual_pages_name_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = kpx_prep(&["completions", shell]);
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{shell}");
        assert!(script.contains("no-load") && script.contains("scheduler"), "{shell}");
    }
    let folder = tempfile::tempdir().unwrap();
    let output = kpx_prep(&["man", folder.path().to_str().unwrap()]);
    assert!(output.status.success());
    // Hidden commands are for programs.
    let hidden = |command: &&Vec<String>| command[..] == ["man"] || command[..] == ["node", "helper"];
    for command in commands().iter().filter(|command| !hidden(command)) {
        let page = folder.path().join(format!("kpx-prep-{}.1", command.join("-")));
        assert!(page.exists(), "{}", page.display());
    }
}

/// The macros panic where standard error or output is gone, and let escape codes through; `kpx_prep::report` does neither.
#[test]
fn everything_is_printed_by_the_report() {
    let sources = walkdir::WalkDir::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let files =
        sources.into_iter().map(Result::unwrap).filter(|entry| entry.path().extension().is_some_and(|e| e == "rs"));
    let (mut count, mut found) = (0, Vec::new());
    for file in files {
        count += 1;
        let text = std::fs::read_to_string(file.path()).unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let prints = lines.filter(|line| ["print!(", "println!(", "dbg!("].iter().any(|word| line.contains(word)));
        found.extend(prints.map(|line| format!("{}: {}", file.path().display(), line.trim())));
    }
    assert!(count > 100 && found.is_empty(), "{found:#?}");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let script =
        format!("{} completions bash | head -c 1 >/dev/null; echo ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_kpx-prep"));
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A FIFO that nobody writes to, a device without end, a file that is too large: each is refused at once. What the
/// shell opened for the command is read: `<(COMMAND)` is a pipe.
#[test]
fn files_named_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    let large = folder.path().join("large");
    std::fs::File::create(&large).unwrap().set_len(17 << 20).unwrap();
    let output = folder.path().join("output");
    let output = output.to_str().unwrap();
    let join = ["kubeadm-config", "--join", "--control-plane-endpoint", "k:6443", "--token-file"];
    let commands = [&["kubeadm-config", "--from"][..], &join, &["image", "--output-file", output, "--binary"]];
    let files =
        [(fifo.as_path(), "not a regular file"), ("/dev/zero".as_ref(), "not a regular file"), (&large, "larger than")];
    for command in commands {
        for (file, why) in files {
            // A binary may be that large; it is none.
            let why = if command[0] == "image" && file == large { "not a 64-bit Linux program" } else { why };
            let mut run = assert_cmd::Command::new(env!("CARGO_BIN_EXE_kpx-prep"));
            let output = run.args(command).arg(file).timeout(std::time::Duration::from_secs(10)).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(matches!(output.status.code(), Some(1 | 2)) && text.contains(why), "{command:?} {file:?}: {text}");
        }
    }
    let script = "exec \"$0\" kubeadm-config --from <(printf 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n')";
    let mut bash = assert_cmd::Command::new("bash");
    let output = bash.args(["-c", script, env!("CARGO_BIN_EXE_kpx-prep")]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("mode: ipvs"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn version_is_one_line_unless_more_is_asked_for() {
    let said = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_kpx-prep")).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(said(&["--version"]), format!("kpx-prep {}\n", env!("CARGO_PKG_VERSION")));
    assert!(said(&["--version", "-v"]).contains("\nnode programs: "));
}
