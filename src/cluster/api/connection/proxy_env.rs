//! The proxy for the API server: kubeconfig's `proxy-url`, else the environment's, by the rules of Go's net/http and
//! golang.org/x/net/http/httpproxy, as used by kubectl.

use std::net::IpAddr;

use http::Uri;

use super::no_proxy;

/// The proxy for this server; `None` for a direct connection. `named`: kubeconfig's own, which has priority.
///
/// # Errors
/// If a setting is invalid. The message does not contain its password.
pub(super) fn proxy(server: &Uri, named: Option<&str>) -> Result<Option<Uri>, String> {
    proxy_in(server, named, |name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

fn proxy_in(
    server: &Uri,
    named: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Uri>, String> {
    if let Some(url) = named {
        return parsed("proxy-url", url).map(Some);
    }
    let either = |upper: &str| variable(upper).or_else(|| variable(&upper.to_ascii_lowercase()));
    let setting = if server.scheme_str() == Some("http") { "HTTP_PROXY" } else { "HTTPS_PROXY" };
    let Some(url) = either(setting) else { return Ok(None) };
    let host = server.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let port = server.port_u16().unwrap_or(if setting == "HTTP_PROXY" { 80 } else { 443 });
    if is_here || no_proxy::exempts(&either("NO_PROXY").unwrap_or_default(), host, port) {
        return Ok(None);
    }
    parsed(setting, &url).map(Some)
}

fn parsed(setting: &str, url: &str) -> Result<Uri, String> {
    // Without a scheme it is http, as in Go; for both kinds of SOCKS5 the proxy resolves the name here.
    let whole = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let whole = whole.replacen("socks5h://", "socks5://", 1);
    let uri: Uri = whole.parse().map_err(|error| format!("{setting} is not a URL: {error}"))?;
    let with_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    match uri.scheme_str() {
        Some("socks5") if with_user => {
            Err(format!("{setting}: a SOCKS5 proxy with user and password is not supported"))
        }
        Some("http" | "https" | "socks5") => Ok(uri),
        other => Err(format!(
            "{setting}: proxy scheme {:?} is not supported; use http, https or socks5",
            other.unwrap_or_default()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(server: &str, named: Option<&str>, environment: &[(&str, &str)]) -> String {
        let variable =
            |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        match proxy_in(&server.parse().unwrap(), named, variable) {
            Ok(None) => "direct".to_owned(),
            Ok(Some(uri)) => uri.to_string(),
            Err(why) => why,
        }
    }

    #[test]
    fn as_kubectl_does() {
        let proxy = ("HTTPS_PROXY", "http://proxy.example:3128");
        let no = |list| [proxy, ("NO_PROXY", list)];
        for (server, named, environment, expected) in [
            ("https://k8s.example:6443", None, &[][..], "direct"),
            ("https://k8s.example:6443", None, &[proxy], "http://proxy.example:3128/"),
            ("https://k8s.example:6443", None, &[("https_proxy", "proxy.example:3128")], "http://proxy.example:3128/"),
            ("https://k8s.example:6443", None, &[("HTTP_PROXY", "http://other.example")], "direct"),
            (
                "https://k8s.example:6443",
                None,
                &[("HTTPS_PROXY", "socks5h://127.0.0.1:1080")],
                "socks5://127.0.0.1:1080/",
            ),
            // kubeconfig's own has priority over the environment.
            ("https://k8s.example:6443", Some("socks5://10.0.0.9:1080"), &no("*"), "socks5://10.0.0.9:1080/"),
            ("https://k8s.example:6443", None, &no("*"), "direct"),
            ("https://k8s.example:6443", None, &no("other.example, k8s.example"), "direct"),
            ("https://k8s.example:6443", None, &no(".example"), "direct"),
            ("https://k8s.example:6443", None, &no("*.example"), "direct"),
            ("https://k8s.example:6443", None, &no("k8s.example:6443"), "direct"),
            ("https://k8s.example:6443", None, &no("k8s.example:443"), "http://proxy.example:3128/"),
            ("https://10.1.2.3:6443", None, &no("10.0.0.0/8"), "direct"),
            ("https://11.1.2.3:6443", None, &no("10.0.0.0/8"), "http://proxy.example:3128/"),
            // The proxy's own address is not relevant.
            ("https://11.1.2.3:6443", None, &no("proxy.example"), "http://proxy.example:3128/"),
            ("https://[2001:db8::1]:6443", None, &no("2001:db8::/32"), "direct"),
            ("https://[2001:db8::1]:6443", None, &no("[2001:db8::1]:6443"), "direct"),
            ("https://[2001:db9::1]:6443", None, &no("2001:db8::/32"), "http://proxy.example:3128/"),
            // Go ignores the environment for these.
            ("https://127.0.0.1:6443", None, &[proxy], "direct"),
            ("https://localhost:6443", None, &[proxy], "direct"),
            ("https://[::1]:6443", None, &[proxy], "direct"),
            ("http://10.1.2.3:8080", None, &[("HTTP_PROXY", "http://other.example")], "http://other.example/"),
        ] {
            assert_eq!(chosen(server, named, environment), expected, "{server} {named:?} {environment:?}");
        }
    }

    #[test]
    fn errors_do_not_contain_passwords() {
        for url in
            ["ftp://user:secret@proxy.example", "socks5://user:secret@proxy.example", "http://us er:secret@proxy"]
        {
            let why = chosen("https://k8s.example", Some(url), &[]);
            assert!(why.starts_with("proxy-url") && !why.contains("secret"), "{why}");
        }
    }
}
