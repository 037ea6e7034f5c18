//! How an API server, and what stands before it, refuses.

use http::Response;
use http::header::CONTENT_TYPE;
use kube::client::Body;
use serde_json::{Value, json};

pub(crate) fn status(code: u16) -> Value {
    let (reason, message) = match code {
        410 => ("Expired", "The provided continue parameter is too old"),
        429 => ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
        409 => ("Conflict", "the object has been modified; please apply your changes to the latest version"),
        _ => ("InternalError", "etcdserver: leader changed"),
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

/// An error page of a load balancer.
pub(crate) fn page_of_a_proxy(code: u16) -> Response<Body> {
    let body = format!("<html><body><h1>{code} Try again</h1></body></html>");
    let response = Response::builder().status(code).header(CONTENT_TYPE, "text/html");
    response.body(Body::from(body.into_bytes())).expect("a response")
}

/// As the API server refuses.
pub(crate) fn refusal(code: u16) -> Response<Body> {
    let message = status(code)["message"].as_str().unwrap_or_default().to_owned();
    as_refused(code, &message)
}

pub(crate) fn as_refused(code: u16, message: &str) -> Response<Body> {
    let mut body = status(code);
    body["message"] = json!(message);
    let body = serde_json::to_vec(&body).expect("JSON");
    let response = Response::builder().status(code).header(CONTENT_TYPE, "application/json");
    let response = if code == 429 { response.header("Retry-After", "1") } else { response };
    response.body(Body::from(body)).expect("a response")
}
