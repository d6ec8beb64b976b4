//! The binary as a client: run to its end, or left running and read line by line.

use crate::{
    bed::{PATIENCE, eventually},
    node::Node,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

/// What a command has done.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: Vec<u8>,
    pub err: String,
}

impl Ran {
    /// What it wrote to standard output, as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.out).expect("text")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The command did what it was asked; what it printed, without the last line feed.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
        self.text().trim_end_matches('\n')
    }

    /// The command ended with `code`, printed nothing, and said why on one line.
    #[track_caller]
    pub fn failed(&self, code: i32) -> &str {
        assert_eq!((self.code, self.text()), (code, ""), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        assert!(!self.err.contains("panicked"), "{self:?}");
        self.err.trim_end()
    }
}

/// The endpoints of `nodes`.
pub fn endpoints(nodes: &[&Node]) -> String {
    let all: Vec<String> = nodes.iter().map(|node| node.http().to_string()).collect();
    all.join(",")
}

/// A command that talks to `endpoints`.
pub fn command(endpoints: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvorum"));
    command.env_clear().env("KVORUM_ENDPOINTS", endpoints).args(args);
    // For the commands that run under locks.
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// Runs a command to its end.
#[track_caller]
pub fn run(endpoints: &str, args: &[&str]) -> Ran {
    run_with(endpoints, args, b"")
}

/// Runs a command to its end with `input` on its standard input.
#[track_caller]
pub fn run_with(endpoints: &str, args: &[&str], input: &[u8]) -> Ran {
    finish(command(endpoints, args), input)
}

/// Runs any prepared command to its end.
#[track_caller]
pub fn finish(mut command: Command, input: &[u8]) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = thread::spawn(move || {
        // A command that does not read its input has ended; that is for the test to judge.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("the command ends");
    writer.join().expect("the input is written");
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A command that is left running.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    pub fn start(endpoints: &str, args: &[&str]) -> Running {
        Running::spawn(command(endpoints, args))
    }

    pub fn spawn(mut command: Command) -> Running {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let err = BufReader::new(child.stderr.take().expect("a pipe"));
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        // Read, so that it never waits for us.
        thread::spawn(move || {
            for line in err.lines().map_while(Result::ok) {
                eprintln!("   command: {line}");
            }
        });
        Running { child, lines }
    }

    /// The next line it prints.
    #[track_caller]
    pub fn line(&self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("waited {PATIENCE:?} in vain for a line"),
            Err(RecvTimeoutError::Disconnected) => panic!("no more lines"),
        }
    }

    /// Whether it prints nothing more for `quiet`, having ended or not.
    pub fn is_silent(&self, quiet: Duration) -> bool {
        self.lines.recv_timeout(quiet).is_err()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a pid is not zero");
        kill_process(pid, signal).expect("our own child can be signalled");
    }

    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the command ends", || {
            self.child.try_wait().expect("our own child can be waited for")
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
