//! Programs that live no longer than the test.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// A background program, its output in a log file; killed when dropped, and by the kernel when this process dies.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts `program`, logging to a file named after it.
    pub(crate) fn start(program: &Path, arguments: &[String], logs: &Path) -> Self {
        let name = program.file_name().expect("a program").to_string_lossy().into_owned();
        let log = File::create(logs.join(format!("{name}.log"))).expect("a log file");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a log file")).stderr(log);
        let child = spawn(command)
            .unwrap_or_else(|error| panic!("{name} does not start (setpriv comes with util-linux): {error}"));
        Self(child)
    }

    /// Whether it has ended.
    pub(crate) fn ended(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program from a thread that never ends: the kernel's "parent" is the thread that started it (`PR_SET_PDEATHSIG`),
/// and a thread of the test runner ends while the last test may still use what it has started.
fn spawn(command: Command) -> io::Result<Child> {
    type Order = (Command, Sender<io::Result<Child>>);
    static STARTER: LazyLock<Sender<Order>> = LazyLock::new(|| {
        let (sender, orders) = channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in orders {
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, answered) = channel();
    STARTER.send((command, answer)).expect("a thread that never ends");
    answered.recv().expect("an answer")
}

/// Runs a program to its end; its standard output.
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).expect("text")
}
