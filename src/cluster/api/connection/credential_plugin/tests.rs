use super::*;

const V1: &str = "client.authentication.k8s.io/v1";

fn of(status: &str) -> Result<Credential, String> {
    let text = format!("{{\"kind\": \"ExecCredential\", \"apiVersion\": \"{V1}\", \"status\": {status}}}");
    credential(&text.into(), Some(V1))
}

#[test]
fn output_of_plugins() {
    let given = of(r#"{"token": "secret-token", "expirationTimestamp": "2026-08-18T10:00:00Z"}"#).ok().unwrap();
    assert_eq!(given.header.unwrap(), "Bearer secret-token");
    assert!(given.certificate.is_none() && given.expires == Some("2026-08-18T10:00:00Z".parse().unwrap()));
    let yaml = format!("kind: ExecCredential\napiVersion: {V1}\nstatus:\n  token: secret-token\n");
    assert!(credential(&yaml.into(), Some(V1)).is_ok());
    assert!(of(r#"{"clientCertificateData": "c", "clientKeyData": "secret-token"}"#).is_ok());
    for (status, why) in [
        (r#"{"token": "secret-token\n"}"#, "not one line"),
        (r#"{"token": "secret-token\u0000"}"#, "not one line"),
        (r#"{"token": "a\r\nX-Remote-User: secret-token"}"#, "not one line"),
        (r#"{"token": ""}"#, "neither a token nor a certificate"),
        (r#"{"clientKeyData": "secret-token"}"#, "only one of"),
        (r#"{"token": "secret-token", "expirationTimestamp": "secret-token"}"#, "expirationTimestamp"),
        (r#"{"token": ["secret-token"]}"#, "did not print an ExecCredential"),
        ("null", "no status"),
        (r#""secret-token""#, "did not print an ExecCredential"),
    ] {
        let error = of(status).err().unwrap_or_else(|| panic!("{status}"));
        assert!(error.contains(why) && !error.contains("secret-token"), "{status}: {error}");
    }
    for text in
        ["", "secret-token", "a: [", "{\"kind\": \"ExecCredential\", \"apiVersion\": \"other/v1\", \"status\": {}}"]
    {
        let error = credential(&text.to_owned().into(), Some(V1)).err().unwrap();
        assert!(!error.contains("secret-token"), "{text}: {error}");
    }
}
