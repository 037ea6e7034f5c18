//! What a server, a proxy or a credential plugin that is no friend can do to `kpx-prep status`, and which cluster it speaks to:
//! small servers of threads, no control plane.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A server's port; each connection is answered on a thread of its own.
fn serve(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || answer(stream));
        }
    });
    port
}

/// The head of a request; nothing when the client is gone.
fn head(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            return Some(head);
        }
        head.push_str(&line);
    }
}

/// A server that answers each request by its first line: status line, type, body.
fn answering(answer: impl Fn(&str) -> (u16, &'static str, String) + Send + Sync + 'static) -> u16 {
    serve(move |stream| {
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        while let Some(head) = head(&mut reader) {
            let (status, kind, body) = answer(&head);
            let length = body.len();
            let head = format!("HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
            if writer.write_all((head + &body).as_bytes()).is_err() {
                return;
            }
        }
    })
}

const VERSION: &str = r#"{"major":"1","minor":"30","gitVersion":"v1.30.1","gitCommit":"x","gitTreeState":"clean","buildDate":"x","goVersion":"go1","compiler":"gc","platform":"linux/amd64"}"#;

/// `cluster` and `user` are flow mappings.
fn kubeconfig(folder: &Path, cluster: &str, user: &str) -> std::path::PathBuf {
    let path = folder.join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: one\nclusters: [{{name: one, cluster: {cluster}}}]\n\
         users: [{{name: one, user: {user}}}]\ncontexts: [{{name: one, context: {{cluster: one, user: one}}}}]\n"
    );
    fs::write(&path, text).unwrap();
    path
}

struct Ended {
    output: Output,
    took: Duration,
}

impl Ended {
    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    #[track_caller]
    fn says(&self, status: i32, words: &[&str]) -> &Self {
        let stderr = self.stderr();
        assert_eq!(self.output.status.code(), Some(status), "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "nothing about {word:?}: {stderr}");
        }
        self
    }

    #[track_caller]
    fn within(&self, limit: Duration) -> &Self {
        assert!(self.took < limit, "{:?}: {}", self.took, self.stderr());
        self
    }
}

fn run(kubeconfig: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let from = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kpx-prep"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).envs(environment.iter().copied());
    command.arg("status").arg("--kubeconfig").arg(kubeconfig).args(arguments);
    let output = command.output().unwrap();
    Ended { output, took: from.elapsed() }
}

fn plain(port: u16) -> (TempDir, std::path::PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = kubeconfig(folder.path(), &format!("{{server: \"http://127.0.0.1:{port}\"}}"), "{}");
    (folder, path)
}

const SOON: Duration = Duration::from_secs(15);

#[test]
fn a_silent_server_is_named_after_the_request_timeout() {
    let port = serve(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        std::thread::sleep(Duration::from_secs(60));
    });
    let (_folder, path) = plain(port);
    let ended = run(&path, &["--request-timeout", "2s"], &[]);
    ended.says(1, &["did not answer within 2s", &port.to_string(), "nothing was changed"]).within(SOON);
}

#[test]
fn one_byte_a_second_is_no_answer() {
    let port = serve(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    let (_folder, path) = plain(port);
    run(&path, &["--request-timeout", "3s"], &[]).says(1, &["did not answer within 3s"]).within(SOON);
}

#[test]
fn an_endless_body_is_not_read() {
    let port = serve(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n");
        let some = vec![b'x'; 1 << 16];
        while stream.write_all(&some).is_ok() {}
    });
    let (_folder, path) = plain(port);
    run(&path, &["--request-timeout", "60s"], &[]).says(1, &["answered with more than 64 MiB"]);
}

#[test]
fn endless_pages_are_not_read() {
    let port = answering(|head| {
        if head.starts_with("GET /version") {
            return (200, "application/json", VERSION.to_owned());
        }
        let list = r#"{"kind":"DaemonSetList","apiVersion":"apps/v1","metadata":{"continue":"more"},"items":[]}"#;
        (200, "application/json", list.to_owned())
    });
    let (_folder, path) = plain(port);
    run(&path, &[], &[]).says(1, &["more than 2000 pages"]);
}

#[test]
fn an_error_page_is_one_line_that_no_terminal_obeys() {
    let page = "<html>\r\n\x1b[2J\x1b]0;owned\x07<head><title>502</title></head>\n\u{202e}body\n</html>\n";
    let port = answering(move |head| {
        if head.starts_with("GET /version") {
            return (200, "application/json", VERSION.replace("v1.30.1", r"v1.30.1\u001b[31m"));
        }
        (403, "text/html", page.repeat(200))
    });
    let (_folder, path) = plain(port);
    for verbose in [&[][..], &["-vvv"]] {
        let ended = run(&path, verbose, &[]);
        ended.says(1, &["listing the DaemonSets"]);
        let stderr = ended.stderr();
        assert!(!stderr.contains(['\x1b', '\x07', '\u{202e}']), "{stderr:?}");
        let error = stderr.lines().filter(|line| line.starts_with("error")).collect::<Vec<_>>();
        assert!(error.len() == 1 && error[0].len() < 1000, "{stderr}");
    }
}

#[test]
fn a_server_without_tls_is_told_at_once() {
    let port = serve(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent a TLS request to an HTTP server.\n");
        std::thread::sleep(Duration::from_secs(20));
    });
    let folder = TempDir::new().unwrap();
    let path = kubeconfig(folder.path(), &format!("{{server: \"https://127.0.0.1:{port}\"}}"), "{}");
    run(&path, &[], &[]).says(1, &["corrupt message"]).within(SOON);
}

#[test]
fn a_kubeconfig_that_was_named_is_used_or_an_error() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing");
    let broken = folder.path().join("broken");
    fs::write(&broken, "clusters: [").unwrap();
    let empty = folder.path().join("empty");
    fs::write(&empty, "").unwrap();
    // As in a pod, where a service account would be there.
    let pod = [("KUBERNETES_SERVICE_HOST", "127.0.0.1"), ("KUBERNETES_SERVICE_PORT", "1")];
    for path in [&missing, &broken, &empty] {
        run(path, &[], &pod).says(2, &["--kubeconfig", &path.display().to_string(), "nothing was changed"]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_kpx-prep"));
        let output = command.env_clear().envs(pod).env("KUBECONFIG", path).arg("status").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("KUBECONFIG") && stderr.contains(&path.display().to_string()), "{stderr}");
    }
    // A list's missing files are passed over, as kubectl does.
    let port = answering(|_| (403, "application/json", "{}".to_owned()));
    let (_other, there) = plain(port);
    let list = std::env::join_paths([&missing, &there]).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_kpx-prep")).env_clear().env("KUBECONFIG", list).arg("status").output();
    let output = output.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && stderr.contains(&port.to_string()), "{stderr}");
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    for (user, words) in [
        ("{auth-provider: {name: oidc, config: {id-token: secret-token}}}", &["auth-provider", "oidc"][..]),
        ("{username: admin, password: secret-token}", &["username and password"]),
        (
            "{exec: {apiVersion: client.authentication.k8s.io/v1, command: plugin, interactiveMode: Always}}",
            &["plugin", "interactiveMode Always"],
        ),
        ("{tokenFile: /nonexistent/token}", &["/nonexistent/token"]),
        ("{exec: {apiVersion: client.authentication.k8s.io/v1, command: plugin}}", &["no interactiveMode"]),
        ("{token: \"secret-token\\n\"}", &["token is not one line"]),
    ] {
        let path = kubeconfig(folder.path(), "{server: \"https://127.0.0.1:1\"}", user);
        let ended = run(&path, &[], &[]);
        ended.says(2, words);
        assert!(!ended.stderr().contains("secret-token"), "{}", ended.stderr());
    }
    let path = kubeconfig(
        folder.path(),
        "{server: \"https://127.0.0.1:1\", proxy-url: \"ftp://me:secret-token@proxy\"}",
        "{}",
    );
    let ended = run(&path, &[], &[]);
    ended.says(2, &["proxy-url", "ftp"]);
    assert!(!ended.stderr().contains("secret-token"), "{}", ended.stderr());
}

#[test]
fn no_credentials_are_sent_without_tls() {
    let seen = Arc::new(Mutex::new(String::new()));
    let port = answering({
        let seen = Arc::clone(&seen);
        move |head| {
            seen.lock().unwrap().push_str(head);
            (403, "application/json", "{}".to_owned())
        }
    });
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("token"), "abc.def\n").unwrap();
    for user in [
        "{tokenFile: token}",
        "{token: abc.def}",
        "{exec: {apiVersion: client.authentication.k8s.io/v1, command: false}}",
    ] {
        let path = kubeconfig(folder.path(), &format!("{{server: \"http://127.0.0.1:{port}\"}}"), user);
        run(&path, &[], &[]).says(1, &["without TLS", "no credentials are sent"]);
    }
    let seen = seen.lock().unwrap().to_ascii_lowercase();
    assert!(seen.contains("get /version") && !seen.contains("authorization"), "{seen}");
}

#[test]
fn a_credential_plugin_gets_no_secret_and_tells_none() {
    let folder = TempDir::new().unwrap();
    let plugin = folder.path().join("plugin");
    fs::write(
        &plugin,
        "#!/bin/sh\nenv >\"${0%/*}/environment\"\necho secret-token\necho \"no \x1b[31mluck\" >&2\nexit 1\n",
    )
    .unwrap();
    fs::set_permissions(&plugin, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let user = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin, interactiveMode: Never}}";
    let path = kubeconfig(folder.path(), "{server: \"https://127.0.0.1:1\"}", user);
    let ended = run(&path, &[], &[("KPX_PREP_TOKEN", "07401b.f395accd246ae52d"), ("OTHER", "stays")]);
    ended.says(2, &["credential plugin failed", "luck"]);
    assert!(!ended.stderr().contains("secret-token") && !ended.stderr().contains('\x1b'), "{}", ended.stderr());
    let environment = fs::read_to_string(folder.path().join("environment")).unwrap();
    assert!(environment.contains("OTHER=stays") && !environment.contains("07401b"), "{environment}");
}

#[test]
fn proxies_are_used_as_kubectl_uses_them() {
    let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
    let proxy = serve({
        let seen = Arc::clone(&seen);
        move |mut stream| {
            let mut some = [0; 256];
            let read = stream.read(&mut some).unwrap_or(0);
            seen.lock().unwrap().extend_from_slice(&some[..read]);
            std::thread::sleep(Duration::from_secs(20));
        }
    });
    let folder = TempDir::new().unwrap();
    let server = "https://k8s.invalid:6443";
    let at = |url: &str| format!("{{server: \"{server}\", proxy-url: \"{url}\"}}");
    let http = format!("http://127.0.0.1:{proxy}");
    for (cluster, environment, expected) in [
        (at(&http), vec![], &b"CONNECT k8s.invalid:6443"[..]),
        (at(&http), vec![("NO_PROXY", "*")], b"CONNECT k8s.invalid:6443"),
        (format!("{{server: \"{server}\"}}"), vec![("HTTPS_PROXY", http.as_str())], b"CONNECT k8s.invalid:6443"),
        (format!("{{server: \"{server}\"}}"), vec![("HTTPS_PROXY", http.as_str()), ("NO_PROXY", ".invalid")], b""),
        (at(&format!("socks5://127.0.0.1:{proxy}")), vec![], b"\x05\x01\x00"),
    ] {
        seen.lock().unwrap().clear();
        let path = kubeconfig(folder.path(), &cluster, "{}");
        run(&path, &["--request-timeout", "3s"], &environment).says(1, &[]);
        let seen = seen.lock().unwrap();
        assert!(
            seen.starts_with(expected) && seen.is_empty() == expected.is_empty(),
            "{cluster} {environment:?}: {seen:?}"
        );
    }
}

#[test]
fn a_full_disk_behind_standard_error_aborts_nothing() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing");
    for arguments in [&["status", "--kubeconfig"][..], &["-vvv", "status", "--kubeconfig"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_kpx-prep"));
        let status = command.args(arguments).arg(&missing).stderr(full).status().unwrap();
        assert_eq!(status.code(), Some(2), "{arguments:?}: {status}");
    }
}
