//! `kpx-lab load` against servers of this process that answer, answer late, refuse, or say nothing.

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A folder of this test's own, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("kpx-lab-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// As the lab's backends: HTTP to a request, else the name first and then each byte.
fn talk(mut stream: TcpStream) {
    let mut said = [0; 512];
    let mut lasting = false;
    while let Ok(length @ 1..) = stream.read(&mut said) {
        let answer: &[u8] = match &said[..length] {
            request if request.starts_with(b"GET ") => b"HTTP/1.0 200 OK\r\n\r\nweb-1\n",
            bytes if lasting => bytes,
            _ => b"web-1\n",
        };
        lasting = true;
        if stream.write_all(answer).is_err() {
            return;
        }
    }
}

fn answering() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || talk(stream));
        }
    });
    port
}

/// Answers every second datagram: a client must ask again.
fn every_second_datagram() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut heard: HashMap<_, u32> = HashMap::new();
        let mut data = [0; 16];
        while let Ok((_, from)) = socket.recv_from(&mut data) {
            let times = heard.entry(from).or_default();
            *times += 1;
            if *times % 2 == 0 {
                socket.send_to(b"web-1\n", from).unwrap();
            }
        }
    });
    port
}

fn start(folder: &Path, targets: &str, first_port: &str) -> Child {
    fs::write(folder.join("list"), targets).unwrap();
    Command::new(env!("CARGO_BIN_EXE_kpx-lab"))
        .args([
            "load",
            "--node",
            "node-1",
            "--place",
            "pod",
            "--every",
            "50",
            "--keep",
            "3",
            "--first-port",
            first_port,
        ])
        .arg("--targets")
        .arg(folder.join("list"))
        .arg("--out")
        .arg(folder.join("out"))
        .spawn()
        .unwrap()
}

fn records(folder: &Path, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder.join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_becomes_of_each_connection() {
    let folder = Folder::new();
    let folder = folder.0.as_path();
    let answering = answering();
    let datagrams = every_second_datagram();
    // Takes connections into its queue, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let targets = format!(
        "web tcp 127.0.0.1 {answering}\nudp udp 127.0.0.1 {datagrams}\nclosed tcp 127.0.0.1 {closed} brief\nsilent tcp 127.0.0.1 {silent_port} brief\ndenied tcp 127.0.0.1 {silent_port} deny\nleaking tcp 127.0.0.1 {answering} deny\n"
    );
    let mut child = start(folder, &targets, "20000");
    thread::sleep(Duration::from_secs(2));
    let now = &records(folder, "out.now")[0];
    assert!(now["asked"].as_u64().unwrap() > 10 && now["keeping"] == 3, "{now}");
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    let told = Instant::now();
    assert!(child.wait().unwrap().success());
    // What is under way comes to its end first: the last one that hangs does so for five seconds.
    assert!((3..20).contains(&told.elapsed().as_secs()), "{:?}", told.elapsed());

    let sum = records(folder, "out.sum");
    let of = |record: &str, service: &str| {
        sum.iter().find(|found| found["record"] == record && found["service"] == service).unwrap().clone()
    };
    let outcomes = ["ok", "refused", "reset", "hanging", "other", "leaked"];
    for (service, ends) in [
        ("web", "ok"),
        ("udp", "ok"),
        ("closed", "refused"),
        ("silent", "hanging"),
        ("denied", "ok"),
        ("leaking", "leaked"),
    ] {
        let new = of("new", service);
        for outcome in outcomes {
            assert_eq!(new[outcome].as_u64().unwrap() > 0, outcome == ends, "{service} {outcome}: {new}");
        }
    }
    let udp = of("new", "udp");
    assert_eq!(udp["slow"], udp["ok"], "answered when asked again, after a second");
    let web = of("new", "web");
    assert_eq!(web["backends"], 1);
    let kept = of("kept", "web");
    assert_eq!((&kept["opened"], &kept["broken"], &kept["stalled"]), (&3.into(), &0.into(), &0.into()));

    let summary = sum.last().unwrap();
    let asked: u64 = sum
        .iter()
        .filter(|record| record["record"] == "new")
        .flat_map(|new| outcomes.map(|outcome| new[outcome].as_u64().unwrap()))
        .sum();
    assert_eq!(summary["asked"], asked, "each is counted once");
    assert!(summary["cpu-ms"].as_u64().unwrap() < 1500, "it waits, and does not spin: {summary}");
    let lost = records(folder, "out.log").iter().filter(|record| record["record"] == "lost").count() as u64;
    assert_eq!(summary["lost"], lost, "each that was lost is recorded");
    drop(silent);
}

#[test]
fn what_cannot_be_asked_is_an_error() {
    let folder = std::env::temp_dir().join(format!("kpx-lab-wrong-{}", process::id()));
    fs::create_dir_all(&folder).unwrap();
    assert_eq!(start(&folder, "web tcp nowhere 80\n", "20000").wait().unwrap().code(), Some(2));
    assert_eq!(start(&folder, "", "20000").wait().unwrap().code(), Some(2));
    fs::remove_dir_all(&folder).unwrap();
}
