//! Small servers of threads, each connection on a thread of its own.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// A server's port; each connection is answered on a thread of its own.
pub(crate) fn serve(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
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
pub(crate) fn head(reader: &mut impl BufRead) -> Option<String> {
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
pub(crate) fn answering(answer: impl Fn(&str) -> (u16, &'static str, String) + Send + Sync + 'static) -> u16 {
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

pub(crate) const VERSION: &str = r#"{"major":"1","minor":"30","gitVersion":"v1.30.1","gitCommit":"x","gitTreeState":"clean","buildDate":"x","goVersion":"go1","compiler":"gc","platform":"linux/amd64"}"#;
