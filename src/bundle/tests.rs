use std::io::Read as _;

use flate2::read::GzDecoder;
use serde_json::json;

use super::anonymizer::{Anonymizer, NameKind};
use super::secrets::without_secrets;
use super::*;

#[test]
fn secrets_are_removed() {
    let key = "0123456789abcdef".repeat(4);
    for (text, kept) in [
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer REDACTED"),
        ("got eyJhbGciOi.eyJpc3MiOi.c2lnbmF0dXJl from", "got REDACTED from"),
        ("kubeadm join --token 07401b.f395accd246ae52d x", "kubeadm join --token REDACTED x"),
        ("https://user:pa55@proxy:3128/x", "https://REDACTED@proxy:3128/x"),
        ("HTTPS_PROXY=http://me@proxy", "HTTPS_PROXY=http://REDACTED@proxy"),
        ("client-key-data: LS0tLS1CRUdJTg==\nuser: x", "client-key-data: REDACTED\nuser: x"),
        ("certificate-authority-data: LS0tLS1CRUdJTg==", "certificate-authority-data: REDACTED"),
        (r#"{"password":"a \"b\" c","x":1}"#, r#"{"password":"REDACTED","x":1}"#),
        ("token='a b' next", "token='REDACTED' next"),
        ("AWS AKIAIOSFODNN7EXAMPLE.", "AWS REDACTED."),
        ("--certificate-key=abc", "--certificate-key=REDACTED"),
        ("Secret: hunter2", "Secret: REDACTED"),
        ("a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE+/=\nabcd\n-----END RSA PRIVATE KEY-----\nb", "a\nREDACTED\nb"),
        (r"-----BEGIN EC PRIVATE KEY-----\nMIIE\nabcd\n-----END EC PRIVATE KEY----- b", "REDACTED b"),
        ("cut -----BEGIN PRIVATE KEY-----\nMIIEabcd", "cut REDACTED"),
        (&format!("key {key} end"), "key REDACTED end"),
    ] {
        assert_eq!(without_secrets(text), kept);
        assert_eq!(without_secrets(kept), kept, "a second time");
    }
    for text in [
        &format!("registry.k8s.io/kube-proxy@sha256:{key}"),
        "token: \"\"",
        "automountServiceAccountToken: true",
        "imagePullSecrets: [pull]",
        "secretName: x",
        "Using ipvs Proxier",
        "portName=\"default/kubernetes:https\"",
    ] {
        assert_eq!(without_secrets(text), *text);
    }
}

fn anonymizer() -> Anonymizer {
    let mut anonymizer = Anonymizer::default();
    anonymizer.add_all(NameKind::Node, &["db-7.prod.acme.com", "db-7.int.acme.com", "10.1.0.1"]);
    anonymizer.add(NameKind::Node, "db");
    anonymizer.add(NameKind::Host, "api.acme.com");
    anonymizer.add(NameKind::Namespace, "billing");
    anonymizer.add(NameKind::Namespace, "kube-system");
    anonymizer.add(NameKind::Service, "proxy");
    anonymizer.add(NameKind::Service, "kubernetes");
    anonymizer
}

#[test]
fn names_are_replaced_wherever_they_stand() {
    let mut anonymizer = anonymizer();
    for (text, replaced) in [
        ("db-7.prod.acme.com is not ready", "node-1 is not ready"),
        ("DB-7.INT.acme.com, db-7, db", "node-1, node-1, node-2"),
        ("etcd-db-7 kube-apiserver-db-7.prod.acme.com", "etcd-node-1 kube-apiserver-node-1"),
        ("db-8 db7 mydb", "node-2-8 db7 mydb"),
        ("https://api.acme.com:6443", "https://host-1:6443"),
        ("x.prod.acme.com. and acme.com", "x.domain-1. and domain-3"),
        ("billing/proxy:http in kube-system", "namespace-1/service-1:http in kube-system"),
        ("kube-proxy proxy-mode Proxy", "kube-proxy proxy-mode Proxy"),
        ("default/kubernetes", "default/kubernetes"),
    ] {
        assert_eq!(anonymizer.text(text), replaced);
    }
}

#[test]
fn addresses_are_replaced_wherever_they_stand() {
    let mut anonymizer = Anonymizer::default();
    for (text, replaced) in [
        ("10.0.0.1 10.0.0.2 10.0.0.1", "198.18.0.1 198.18.0.2 198.18.0.1"),
        ("10.0.0.2:6443, 10.0.0.0/16.", "198.18.0.2:6443, 198.18.0.3/16."),
        ("10.0.0.1-10.0.0.2:80:10.0.0.1", "198.18.0.1-198.18.0.2:80:198.18.0.1"),
        ("[fd00::1]:443 fd00::1/64 FD00:0::1", "[2001:db8::4]:443 2001:db8::4/64 2001:db8::4"),
        ("::ffff:10.0.0.1 fd00::", "198.18.0.1 2001:db8::5"),
        ("at:fd00::1: no", "at:2001:db8::4: no"),
        ("to 10.0.0.1.", "to 198.18.0.1."),
        (
            "127.0.0.1 0.0.0.0 ::1 :: 169.254.20.10 255.255.0.0 [::]:80",
            "127.0.0.1 0.0.0.0 ::1 :: 169.254.20.10 255.255.0.0 [::]:80",
        ),
        ("1.20.2 v1.31.0 5.10.0.1.2 12:00:01", "1.20.2 v1.31.0 5.10.0.1.2 12:00:01"),
        ("52:54:00:ab:cd:ef 52:54:00:AB:CD:EF", "02:00:00:00:00:01 02:00:00:00:00:01"),
    ] {
        assert_eq!(anonymizer.text(text), replaced);
    }
}

#[test]
fn a_long_run_ends() {
    let run = "a-".repeat(20_000);
    assert_eq!(anonymizer().text(&run), run);
    let run = "db-".repeat(100) + "10.1.0.1";
    assert_eq!(anonymizer().text(&run), "node-2-".repeat(100) + "198.18.0.1");
}

fn collected(folder: &'static str, name: &str, content: Content) -> Collected {
    Collected { folder, name: name.to_owned(), ending: "x", about: format!("of {name}"), content }
}

#[test]
fn files_get_safe_names_of_their_own() {
    let text = |name: &str| collected("logs", name, Content::Text("\u{1b}[31mred".to_owned()));
    let files = finished(vec![text("../../etc/cron.d/x"), text("a/b"), text("a b"), text(""), text("..")], None);
    let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["logs/_.._.._etc_cron.d_x.x", "logs/a_b.x", "logs/a_b~1.x", "logs/_.x", "logs/_...x"]);
    assert_eq!(files[0].bytes, b"\\x1b[31mred");
}

#[test]
fn the_archive_holds_what_was_masked() {
    let document = json!({"node": "db-7", "db-7": ["10.9.9.9"], "token": "x", "count": 3, "nodes": {"db-8": true}});
    let files = finished(
        vec![
            collected("", "index", Content::Json(document)),
            collected("logs", "db-7", Content::Text("db-7\n".into())),
        ],
        Some(&mut anonymizer()),
    );
    assert_eq!(files[1].path, "logs/node-1.x");
    assert_eq!(files[1].about, "of node-1");
    let bytes = archive("bundle", &files, 1_700_000_000).unwrap();
    let mut tar = tar::Archive::new(GzDecoder::new(&bytes[..]));
    let mut found = Vec::new();
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        assert_eq!((entry.header().mode().unwrap(), entry.header().mtime().unwrap()), (0o600, 1_700_000_000));
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        found.push((entry.path().unwrap().display().to_string(), content));
    }
    assert_eq!(found[1], ("bundle/logs/node-1.x".to_owned(), "node-1\n".to_owned()));
    let document: Value = serde_json::from_str(&found[0].1).unwrap();
    let expected = json!({"node": "node-1", "node-1": ["198.18.0.1"], "token": "REDACTED", "count": 3, "nodes": {"node-2-8": true}});
    assert_eq!(document, expected);
}
