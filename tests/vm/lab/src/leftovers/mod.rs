//! Stand-ins for others' programs, and others' virtual servers, for the test of what is left on a host.

mod ipvs;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::Context as _;

/// By these names the program itself is called, as the process that it stands in for is.
pub(crate) const NAMES: [&str; 3] = ["kube-proxy", "echo-server", "virtual-server"];

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Answer /proxyMode with FOLDER/mode and /metrics with FOLDER/metrics
    KubeProxy { port: u16, folder: PathBuf },
    /// Send back what is received, over TCP and UDP
    EchoServer { address: IpAddr, port: u16 },
    /// Add a virtual server with its real servers, or remove all of them
    #[command(subcommand)]
    VirtualServer(ipvs::Command),
}

/// # Errors
/// If the port is taken, or the kernel refuses.
pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::KubeProxy { port, folder } => kube_proxy(*port, folder),
        Command::EchoServer { address, port } => echo(*address, *port),
        Command::VirtualServer(command) => ipvs::run(command),
    }
}

fn listen(address: IpAddr, port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind((address, port)).with_context(|| format!("listening on {address} port {port}"))
}

fn kube_proxy(port: u16, folder: &Path) -> anyhow::Result<()> {
    for stream in listen(Ipv4Addr::LOCALHOST.into(), port)?.incoming().flatten() {
        // Who hangs up early gets no answer.
        let _ = answer(stream, folder);
    }
    Ok(())
}

fn answer(mut stream: TcpStream, folder: &Path) -> std::io::Result<()> {
    let mut request = [0; 1024];
    let length = stream.read(&mut request)?;
    match file_of(&String::from_utf8_lossy(&request[..length])).and_then(|file| fs::read(folder.join(file)).ok()) {
        Some(body) => {
            write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())?;
            stream.write_all(&body)
        }
        None => stream.write_all(b"HTTP/1.0 404 Not Found\r\n\r\n"),
    }
}

fn file_of(request: &str) -> Option<&'static str> {
    match request.split(' ').nth(1)? {
        "/proxyMode" => Some("mode"),
        "/metrics" => Some("metrics"),
        _ => None,
    }
}

fn echo(address: IpAddr, port: u16) -> anyhow::Result<()> {
    let listener = listen(address, port)?;
    let datagrams = UdpSocket::bind((address, port)).with_context(|| format!("binding {address} port {port}"))?;
    thread::spawn(move || {
        let mut data = [0; 2048];
        loop {
            if let Ok((length, from)) = datagrams.recv_from(&mut data) {
                let _ = datagrams.send_to(&data[..length], from);
            }
        }
    });
    for stream in listener.incoming().flatten() {
        thread::spawn(move || {
            let mut stream = stream;
            let mut data = [0; 2048];
            while let Ok(length) = stream.read(&mut data) {
                if length == 0 || stream.write_all(&data[..length]).is_err() {
                    break;
                }
            }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_answered() {
        assert_eq!(file_of("GET /proxyMode HTTP/1.1\r\n"), Some("mode"));
        assert_eq!(file_of("GET /metrics HTTP/1.1\r\n"), Some("metrics"));
        assert_eq!(file_of("GET /healthz HTTP/1.1\r\n"), None);
        assert_eq!(file_of(""), None);
    }
}
