//! The command that runs under a lock.
//!
//! Rule: signals sent to us are its business, and it is not left behind. Must never: end a process
//! that it did not start.

use crate::{client::Failure, exit};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use std::{
    ffi::OsString,
    io::{self, IsTerminal},
    os::unix::process::ExitStatusExt,
    time::Duration,
};
use tokio::{
    process,
    signal::unix::{self, SignalKind},
    time::{Instant, sleep, timeout_at},
};

/// How often is looked whether its children have ended.
const LOOK: Duration = Duration::from_millis(20);

/// How it ended.
pub enum Ended {
    /// With this code.
    Code(u8),
    /// By this signal.
    Signal(u8),
}

/// The signals that are passed on, caught from here on.
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
}

impl Signals {
    /// Catches them.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn catch() -> Result<Signals, Failure> {
        let catch = |kind| {
            unix::signal(kind).map_err(|error| {
                let message = format!("cannot catch signals: {error}");
                Failure::new(exit::FAILED, "system", message, "raise the limits of this user")
            })
        };
        Ok(Signals {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            hangup: catch(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.hangup.recv() => Signal::HUP,
        }
    }
}

/// A running command.
pub struct Child {
    process: process::Child,
    pid: Option<Pid>,
    /// Whether it leads a process group of its own, so that its children can be ended with it.
    group: bool,
    signals: Signals,
}

impl Child {
    /// Starts `command` with `vars` added to the environment.
    ///
    /// # Errors
    /// As a shell: 127 when there is no such command, 126 when it cannot be run.
    pub fn start(
        command: &[OsString],
        vars: &[(&str, String)],
        signals: Signals,
    ) -> Result<Child, Failure> {
        let (program, arguments) = match command {
            [program, arguments @ ..] => (program, arguments),
            [] => return Err(Failure::input("the command is missing", "give it after --")),
        };
        let mut command = process::Command::new(program);
        command.args(arguments).envs(vars.iter().map(|(name, value)| (name, value)));
        // On a terminal it stays in our group, or it could not read from there.
        let group = !io::stdin().is_terminal();
        if group {
            command.process_group(0);
        }
        let process = command.spawn().map_err(|error| {
            let exit = match error.kind() {
                io::ErrorKind::NotFound => exit::NO_COMMAND,
                _ => exit::NOT_RUNNABLE,
            };
            let message = format!("{} cannot be run: {error}", program.to_string_lossy());
            Failure::new(exit, "command", message, "check its name and permissions")
        })?;
        let pid = process.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok(Child { process, pid, group, signals })
    }

    /// Waits for its end; passes signals on meanwhile.
    pub async fn ended(&mut self) -> Ended {
        loop {
            let signal = tokio::select! {
                biased;
                status = self.process.wait() => return told(status),
                signal = self.signals.next() => signal,
            };
            self.signal(signal);
        }
    }

    /// Ends it: SIGTERM, and SIGKILL at `last`.
    pub async fn end(&mut self, last: Instant) {
        self.signal(Signal::TERM);
        let ended = timeout_at(last, self.process.wait()).await.is_ok();
        // Its children may still be at it, and get as long as it does.
        while ended && self.is_left() && Instant::now() < last {
            sleep(LOOK).await;
        }
        if !ended || self.is_left() {
            self.signal(Signal::KILL);
        }
        let _ = self.process.wait().await;
    }

    /// Whether somebody of its group is left, though it has ended itself.
    fn is_left(&self) -> bool {
        self.group && self.pid.is_some_and(|pid| test_kill_process_group(pid).is_ok())
    }

    fn signal(&self, signal: Signal) {
        let Some(pid) = self.pid else { return };
        // Who has ended meanwhile needs no signal any more.
        let _ = match self.group {
            true => kill_process_group(pid, signal),
            false => kill_process(pid, signal),
        };
    }
}

fn told(status: io::Result<std::process::ExitStatus>) -> Ended {
    let Ok(status) = status else { return Ended::Code(exit::NOT_RUNNABLE) };
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Code(u8::try_from(code & 0xff).unwrap_or(exit::FAILED)),
        (None, Some(signal)) => Ended::Signal(u8::try_from(signal).unwrap_or(0)),
        (None, None) => Ended::Code(exit::FAILED),
    }
}
