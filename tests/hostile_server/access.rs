//! Which cluster it speaks to, as whom, and through which proxy: kubeconfigs, credentials, the environment.

use std::fs;
use std::io::Read as _;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use crate::server::{answering, serve};
use crate::status::{SOON, kubeconfig, plain, run};
use crate::tls;

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
        ("{exec: {apiVersion: client.authentication.k8s.io/v1, command: plugin}}", &["does not set interactiveMode"]),
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
fn a_credential_plugin_neither_gets_nor_prints_a_secret() {
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
    ended.says(2, &["credential plugin", "failed (exit status: 1)", "luck"]);
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
        // Lists that kube's own reader gives up on.
        (
            format!("{{server: \"{server}\"}}"),
            vec![("HTTPS_PROXY", http.as_str()), ("NO_PROXY", "localhost,, .svc:x,")],
            b"CONNECT k8s.invalid:6443",
        ),
        (format!("{{server: \"{server}\"}}"), vec![("HTTPS_PROXY", http.as_str()), ("NO_PROXY", "x,,invalid,")], b""),
        (at(&http), vec![("NO_PROXY", ",")], b"CONNECT k8s.invalid:6443"),
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
fn certificates_that_sign_themselves() {
    let with = |name: &str, cluster: fn(u16, &str) -> String| {
        let (port, asked) = tls::server(name, |_| 403);
        let folder = TempDir::new().unwrap();
        let ended = run(&kubeconfig(folder.path(), &cluster(port, name), "{}"), &[], &[]);
        let asked = !asked.lock().unwrap().is_empty();
        (ended, asked)
    };
    let (ended, asked) = with("own-leaf", tls::cluster);
    ended.says(1, &["listing the DaemonSets"]);
    assert!(asked);
    // Said to be a CA's, as openssl makes them. Go takes it where the kubeconfig trusts it.
    let (ended, asked) = with("own-ca", tls::cluster);
    ended
        .says(1, &["uses a CA certificate as its own", "kubectl accepts", "basicConstraints=critical,CA:FALSE"])
        .within(SOON);
    assert!(!asked && ended.stderr().lines().count() == 1, "{}", ended.stderr());
    // Another name, and another certificate than the one that is trusted.
    let (ended, asked) = with("own-leaf", |port, name| tls::cluster(port, name).replace("127.0.0.1", "localhost"));
    ended.says(1, &["certificate not valid for name"]);
    assert!(!asked);
    let (ended, asked) = with("own-leaf", |port, _| tls::cluster(port, "ca"));
    ended.says(1, &["certificate"]);
    assert!(!asked);
}
