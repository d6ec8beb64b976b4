//! Exit codes: which cause ends the process with which number (`sysexits.h`, where it has one).
//!
//! Rule: one table, shown by `--help` and in `docs/operations.md`. Must never: end with two lines
//! where one says it all.

use kvorum_runtime::node::FatalKind;
use std::process::ExitCode;

/// `kvorum health`: not ready, not alive, or nobody there.
pub const UNHEALTHY: u8 = 1;
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
/// 128 and the number of SIGINT.
pub const INTERRUPTED: u8 = 130;
/// 128 and the number of SIGTERM.
pub const TERMINATED: u8 = 143;

/// Every code with what it stands for.
pub const CODES: &[(u8, &str)] = &[
    (0, "stopped gracefully; help or version shown; healthy"),
    (UNHEALTHY, "kvorum health: not ready, or nobody there"),
    (USAGE, "a variable or an argument is missing, unknown, malformed or contradictory"),
    (DATA, "the data is damaged, another node's or format's, or contradicts the majority's"),
    (
        UNAVAILABLE,
        "a port is in use, an address cannot be listened on, or the cluster refused the join",
    ),
    (SYSTEM, "the system refused something a node cannot do without (threads, signals)"),
    (IO, "the disk failed or is full"),
    (LOCKED, "the data directory is in use by a running kvorum"),
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
    let line: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    eprintln!("{line}");
    ExitCode::from(code)
}
