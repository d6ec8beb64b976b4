//! Exit codes: which cause ends the process with which number. Below 64 they are those of the
//! commands of a client, from 64 those of a node (`sysexits.h`, where it has one).
//!
//! Rule: one table, shown by `--help` and in `docs/operations.md`. Must never: end with two lines
//! where one says it all, or say `FAILED` of a change that may have taken effect.

use kvorum_runtime::node::FatalKind;
use std::process::ExitCode;

/// There is no such thing, a condition did not hold, or a lock is somebody else's; of
/// `kvorum health`: not ready, not alive, or nobody there.
pub const NO: u8 = 1;
/// The command line cannot be understood.
pub const MISUSED: u8 = 2;
/// The command failed and certainly changed nothing.
pub const FAILED: u8 = 3;
/// Nobody can say whether the change took effect.
pub const UNKNOWN: u8 = 4;
/// EX_USAGE.
pub const USAGE: u8 = 64;
/// EX_DATAERR.
pub const DATA: u8 = 65;
/// EX_UNAVAILABLE.
pub const UNAVAILABLE: u8 = 69;
/// EX_OSERR.
pub const SYSTEM: u8 = 71;
/// EX_IOERR.
pub const IO: u8 = 74;
/// EX_TEMPFAIL.
pub const LOCKED: u8 = 75;
/// The command of `kvorum lock` cannot be run (as a shell says it).
pub const NOT_RUNNABLE: u8 = 126;
/// The command of `kvorum lock` does not exist (as a shell says it).
pub const NO_COMMAND: u8 = 127;
/// Added to the number of the signal that ended a process (as a shell says it).
pub const SIGNALLED: u8 = 128;
/// 128 and the number of SIGINT.
pub const INTERRUPTED: u8 = 130;
/// 128 and the number of SIGTERM.
pub const TERMINATED: u8 = 143;

/// Every code with what it stands for.
pub const CODES: &[(u8, &str)] = &[
    (0, "done; of a node: stopped gracefully; of kvorum health: healthy"),
    (
        NO,
        "not found, a condition did not hold, a lock was not acquired; of kvorum health: not ready, \
         or nobody there",
    ),
    (MISUSED, "the command line cannot be understood"),
    (FAILED, "a command failed and certainly changed nothing"),
    (UNKNOWN, "the outcome of a command is unknown: it may have taken effect, or may still"),
    (USAGE, "a variable is missing, unknown, malformed or contradictory"),
    (DATA, "the data is damaged, another node's or format's, or contradicts the majority's"),
    (
        UNAVAILABLE,
        "a port is in use, an address cannot be listened on, or the cluster refused the join",
    ),
    (SYSTEM, "the system refused something a node cannot do without (threads, signals)"),
    (IO, "the disk failed or is full"),
    (LOCKED, "the data directory is in use by a running kvorum"),
    (NOT_RUNNABLE, "kvorum lock: the command cannot be run"),
    (NO_COMMAND, "kvorum lock: there is no such command"),
    (INTERRUPTED, "a second SIGINT ended a graceful stop at once"),
    (TERMINATED, "a second SIGTERM ended a graceful stop at once"),
];

/// The code for what ended a node.
pub fn code(kind: FatalKind) -> u8 {
    match kind {
        FatalKind::Bind | FatalKind::Refused => UNAVAILABLE,
        FatalKind::Locked => LOCKED,
        FatalKind::Foreign | FatalKind::Data => DATA,
        FatalKind::Io => IO,
    }
}

/// Says why on one line of standard error and turns `code` into what `main` returns.
pub fn fail(code: u8, message: &str) -> ExitCode {
    say(message);
    ExitCode::from(code)
}

/// One line of standard error, whatever is in `message`.
pub fn say(message: &str) {
    use std::io::Write;
    let line: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // Nobody who reads it: nothing to do about that.
    let _ = writeln!(std::io::stderr(), "{line}");
}
