//! Exec credential plugins: what they give is used, renewed and never shown; what they say is bounded and escaped.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use tempfile::TempDir;

use crate::status::{Ended, kubeconfig, run};
use crate::tls::{certificate, cluster, server};

const EXEC: &str = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin, interactiveMode: Never}}";

fn plugin(folder: &Path, script: &str) {
    let path = folder.join("plugin");
    fs::write(&path, format!("#!/bin/sh\necho run >>\"${{0%/*}}/runs\"\n{script}\n")).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// `status` with a plugin of this script. Nothing listens.
fn with(script: &str) -> Ended {
    let folder = TempDir::new().unwrap();
    plugin(folder.path(), script);
    run(&kubeconfig(folder.path(), "{server: \"https://127.0.0.1:1\"}", EXEC), &[], &[])
}

/// A script that prints this status.
fn gives(status: &str) -> String {
    format!(
        "cat <<'END'\n{{\"kind\": \"ExecCredential\", \"apiVersion\": \"client.authentication.k8s.io/v1\", \"status\": {status}}}\nEND"
    )
}

#[test]
fn output_and_words_have_a_limit() {
    for script in [
        "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done",
        "head -c 3000000 /dev/zero | tr '\\0' y",
        "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy >&2; done",
    ] {
        let ended = with(script);
        ended.says(2, &["credential plugin", "was stopped"]).within(Duration::from_secs(30));
    }
}

#[test]
fn what_it_says_is_no_command_to_the_terminal() {
    let ended = with("printf 'open \\033]0;owned\\007 https://x.example\\n\\342\\200\\256gnp\\n' >&2; exit 1");
    ended.says(2, &["credential plugin: open \\x1b]0;owned\\x07 https://x.example", "\\u{202e}gnp"]);
    assert!(!ended.stderr().contains(['\x1b', '\x07', '\u{202e}']), "{}", ended.stderr());
}

#[test]
fn what_is_of_no_use_is_named_and_not_shown() {
    for (script, words) in [
        (
            gives(r#"{"token": "secret-token\n"}"#),
            &["printed a token that is not one line of printable characters"][..],
        ),
        (gives(r#"{"token": "x\r\nX-Remote-User: secret-token"}"#), &["not one line"]),
        (gives(r#"{"token": ""}"#), &["neither a token nor a certificate"]),
        (gives(r#"{"clientCertificateData": "secret-token"}"#), &["only one of certificate and key"]),
        (gives(r#"{"clientCertificateData": "secret-token", "clientKeyData": "secret-token"}"#), &["cannot be used"]),
        ("echo secret-token".to_owned(), &["did not print an ExecCredential"]),
        ("echo secret-token; exit 3".to_owned(), &["failed (exit status: 3)"]),
        ("echo secret-token; kill -9 $$".to_owned(), &["failed (signal: 9"]),
        (String::new(), &["did not print an ExecCredential"]),
    ] {
        let ended = with(&script);
        ended.says(2, words);
        let stderr = ended.stderr();
        assert!(
            !stderr.contains("secret-token") && stderr.lines().filter(|line| !line.is_empty()).count() == 1,
            "{stderr}"
        );
    }
    let folder = TempDir::new().unwrap();
    let user = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: no-such-plugin, interactiveMode: Never, installHint: \"get it \\e[31m there\"}}";
    let path = kubeconfig(folder.path(), "{server: \"https://127.0.0.1:1\"}", user);
    run(&path, &[], &[]).says(2, &["no-such-plugin was not found: get it \\x1b[31m there"]);
}

#[test]
fn its_token_is_used_and_it_runs_once() {
    let (port, asked) = server("server", |_| 403);
    let folder = TempDir::new().unwrap();
    plugin(folder.path(), &gives(r#"{"token": "secret-token", "expirationTimestamp": "2099-01-01T00:00:00Z"}"#));
    let ended = run(&kubeconfig(folder.path(), &cluster(port, "ca"), EXEC), &[], &[]);
    ended.says(1, &["listing the DaemonSets"]);
    let asked = asked.lock().unwrap();
    assert!(
        asked.len() > 1 && asked.iter().all(|(token, _)| token.as_deref() == Some("Bearer secret-token")),
        "{asked:?}"
    );
    assert_eq!(fs::read_to_string(folder.path().join("runs")).unwrap(), "run\n");
    assert!(!ended.stderr().contains("secret-token"), "{}", ended.stderr());
}

/// A server that is busy for longer than the plugin's credentials last.
#[test]
fn what_has_expired_is_renewed() {
    let (port, asked) = server("server", |token| if token.ends_with('1') { 503 } else { 403 });
    let folder = TempDir::new().unwrap();
    let words = |name: &str| fs::read_to_string(certificate(name)).unwrap().replace('\n', "\\n");
    let of = |number: u32| {
        gives(&format!(
            r#"{{"token": "token-{number}", "expirationTimestamp": "2020-01-01T00:00:00Z", "clientCertificateData": "{}", "clientKeyData": "{}"}}"#,
            words(&format!("client-{number}.crt")),
            words(&format!("client-{number}.key"))
        ))
    };
    plugin(folder.path(), &format!("if [ $(wc -l <\"${{0%/*}}/runs\") = 1 ]; then\n{}\nelse\n{}\nfi", of(1), of(2)));
    let ended = run(&kubeconfig(folder.path(), &cluster(port, "ca"), EXEC), &[], &[]);
    ended.says(1, &[]);
    let der = |name: &str| {
        use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject as _};
        CertificateDer::from_pem_file(certificate(name)).unwrap().to_vec()
    };
    let asked = asked.lock().unwrap();
    let who = |token: &str, name: &str| {
        let of = asked.iter().filter(|(header, _)| header.as_deref() == Some(token)).collect::<Vec<_>>();
        !of.is_empty() && of.iter().all(|(_, peer)| peer.as_ref() == Some(&der(name)))
    };
    assert!(who("Bearer token-1", "client-1.crt") && who("Bearer token-2", "client-2.crt"), "{}", asked.len());
}

/// At a terminal its question is there at once, though no line ends, and escaped; the answer reaches it.
#[test]
fn at_a_terminal_it_may_ask() {
    let folder = TempDir::new().unwrap();
    let asks = "printf 'Pass\\033[31mword: ' >&2\nread answer\necho \"heard $answer\" >&2\n";
    plugin(folder.path(), &format!("{asks}{}", gives(r#"{"token": "secret-token"}"#)));
    let exec = EXEC.replace("Never", "IfAvailable");
    let path = kubeconfig(folder.path(), "{server: \"https://127.0.0.1:1\"}", &exec);
    let terminal = nix::pty::openpty(None, None).unwrap();
    // The programs of other tests shall not hold it open.
    for end in [&terminal.master, &terminal.slave] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
    }
    let side = || std::process::Stdio::from(terminal.slave.try_clone().unwrap());
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_kpx-prep"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .arg("status")
        .arg("--kubeconfig")
        .arg(&path)
        .stdin(side())
        .stdout(side())
        .stderr(side())
        .spawn()
        .unwrap();
    drop(terminal.slave);
    let mut master = fs::File::from(terminal.master);
    let (mut said, mut some, mut answered) = (String::new(), [0; 1024], false);
    // It ends with an error when the other side is closed.
    while let Ok(read @ 1..) = master.read(&mut some) {
        said.push_str(&String::from_utf8_lossy(&some[..read]));
        if !answered && said.ends_with("word: ") {
            master.write_all(b"open sesame\n").unwrap();
            answered = true;
        }
    }
    assert_eq!(child.wait().unwrap().code(), Some(1), "nothing listens: {said}");
    assert!(said.contains("Pass\\x1b[31mword: ") && said.contains("heard open sesame"), "{said}");
    assert!(!said.contains("secret-token"), "{said}");
}
