//! One run of a test binary, bounded in time and memory.
//!
//! Rule: a run that does not end is ended and says so; a bug that fills the memory hits a limit
//! first. Must never: leave a process behind.

use std::{
    fs::File,
    io::Read,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;

/// What a run may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Of the processor.
    pub time: Duration,
    /// KiB of address space.
    pub memory: u64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// `None`: it was ended.
    pub passed: Option<bool>,
    /// Everything it said.
    pub said: String,
}

/// Runs a binary with the bug of this number (0: none).
///
/// # Errors
/// When it cannot be started.
pub fn run(
    binary: &Path,
    arguments: &[&str],
    environment: &[(&str, String)],
    number: usize,
    limit: Limit,
    scratch: &Path,
) -> Result<Ended, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", binary.display());
    let open = || File::create(scratch).map_err(wrong);
    let out = open()?;
    let err = out.try_clone().map_err(wrong)?;
    let mut command = Command::new("sh");
    let bounds = format!("ulimit -v {}; ulimit -t {}", limit.memory, limit.time.as_secs().max(1));
    command.args(["-c", &format!("{{ {bounds}; }} 2>/dev/null; exec \"$0\" \"$@\"")]);
    command.arg(binary).args(arguments);
    command.env("KVORUM_PLANTED", number.to_string()).env_remove("UPDATE_GOLDEN");
    command.env("RUST_BACKTRACE", "0");
    for (name, value) in environment {
        command.env(name, value);
    }
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    let mut child = command.spawn().map_err(wrong)?;
    let began = Instant::now();
    let passed = loop {
        if let Some(status) = child.try_wait().map_err(wrong)? {
            // Beyond its share of the processor the system ends it.
            break (!matches!(status.signal(), Some(SIGKILL | SIGXCPU))).then(|| status.success());
        }
        // However busy the machine is, processor time is what counts; this is for what sleeps.
        if began.elapsed() > limit.time * 60 {
            // What it ran as is the binary itself (`exec`), so nothing is left.
            let _ = child.kill();
            child.wait().map_err(wrong)?;
            break None;
        }
        sleep(Duration::from_millis(5));
    };
    let mut said = Vec::new();
    File::open(scratch).and_then(|mut file| file.read_to_end(&mut said)).map_err(wrong)?;
    Ok(Ended { passed, said: String::from_utf8_lossy(&said).into_owned() })
}
