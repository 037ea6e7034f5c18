//! What a server, a proxy or a credential plugin that is no friend can do to `kpx-prep status`, and which cluster it speaks to:
//! small servers of threads, no control plane.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

#[path = "hostile_server/access.rs"]
mod access;
#[path = "hostile_server/plugins.rs"]
mod plugins;
#[path = "hostile_server/server.rs"]
mod server;
#[path = "hostile_server/status.rs"]
mod status;
#[path = "hostile_server/tls.rs"]
mod tls;

use server::{VERSION, answering, serve};
use status::{SOON, kubeconfig, plain, run};

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
    run(&path, &["--request-timeout", "60s"], &[]).says(1, &["exceeds 64 MiB"]);
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
fn a_server_without_tls_is_reported_at_once() {
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
