//! `kvorum lock`: the command runs only while the lock is certainly held.

use crate::{
    bed::{Bed, eventually},
    cli::{Running, run},
    fake::{Fake, answer},
};
use rustix::process::Signal;
use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

/// A cluster of one, played: grants the lock once and says `keepalives` to as many keep-alives;
/// after those it is silent. Tells what it was asked.
fn played(keepalives: &'static [&'static str]) -> (Fake, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let (mut kept, mut n) = (Vec::new(), 0);
    let fake = Fake::start(move |_, mut stream, request| {
        use std::io::Write;
        let text = String::from_utf8_lossy(&request);
        let line = text.lines().next().unwrap_or_default().to_owned();
        seen.lock().unwrap().push(line.clone());
        let said = if line.contains("/keepalive") {
            n += 1;
            match keepalives.get(n - 1) {
                Some(&"gone") => answer(
                    "404 Not Found",
                    r#"{"code":"lease_not_found","message":"lease 5 not found","applied":"no"}"#,
                ),
                Some(_) => answer("200 OK", r#"{"id":"5","ttl":2}"#),
                None => return kept.push(stream),
            }
        } else if line.starts_with("DELETE") {
            answer("200 OK", r#"{"message":"lock released"}"#)
        } else {
            answer("200 OK", r#"{"name":"job","token":7,"lease":"5","ttl":2}"#)
        };
        let _ = stream.write_all(said.as_bytes());
    });
    (fake, asked)
}

fn asked(asked: &Mutex<Vec<String>>, what: &str) -> usize {
    asked.lock().unwrap().iter().filter(|line| line.starts_with(what)).count()
}

/// A script whose child would outlive it, and ignores SIGTERM; writes the child's pid to `file`.
fn stubborn(file: &Path) -> String {
    let file = file.display();
    format!("sh -c 'trap \"\" TERM; echo $$ > {file}; sleep 600 & wait; sleep 600' & wait")
}

fn is_alive(pid: &str) -> bool {
    // A zombie is dead, only nobody has asked for it yet.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn pid_in(file: &Path) -> String {
    eventually("the child runs", || {
        let text = fs::read_to_string(file).ok()?;
        text.ends_with('\n').then(|| text.trim().to_owned())
    })
}

#[test]
fn a_lock_that_is_gone_ends_the_command_and_its_children() {
    let bed = Bed::new();
    let (fake, seen) = played(&["ok", "ok", "gone"]);
    let file = bed.path().join("pid");
    let script = stubborn(&file);
    let args = ["lock", "job", "--ttl", "2s", "--", "sh", "-c", &script];
    let mut lock = Running::start(&fake.endpoint(), &args);
    let child = pid_in(&file);
    assert_eq!(lock.wait().code(), Some(4));
    eventually("the child is dead", || (!is_alive(&child)).then_some(()));
    assert_eq!(asked(&seen, "POST /lease/5/keepalive"), 3);
}

#[test]
fn a_cluster_that_falls_silent_ends_the_command() {
    let bed = Bed::new();
    let (fake, _) = played(&["ok", "ok"]);
    let file = bed.path().join("pid");
    let script = stubborn(&file);
    let args = ["lock", "job", "--ttl", "2s", "--timeout", "1s", "--", "sh", "-c", &script];
    let mut lock = Running::start(&fake.endpoint(), &args);
    let child = pid_in(&file);
    assert_eq!(lock.wait().code(), Some(4));
    eventually("the child is dead", || (!is_alive(&child)).then_some(()));
}

#[test]
fn the_command_has_its_token_and_its_code_is_ours() {
    let (fake, seen) = played(&["ok"; 100]);
    let at = fake.endpoint();
    let show = "echo $KVORUM_LOCK_TOKEN $KVORUM_FENCE; exit 42";
    let ran = run(&at, &["lock", "my job/ä", "--", "sh", "-c", show]);
    assert_eq!((ran.code, ran.text()), (42, "7 my%20job%2F%C3%A4=7\n"), "{ran:?}");
    assert_eq!(asked(&seen, "POST /lock/my%20job/%C3%A4?ttl=10000ms"), 1);
    assert_eq!(asked(&seen, "DELETE /lock/my%20job/%C3%A4?token=7"), 1, "released");
    let ran = run(&at, &["lock", "job", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(ran.code, 128 + 9, "{ran:?}");
    let ran = run(&at, &["lock", "job", "--", "/does/not/exist"]);
    assert!(ran.failed(127).contains("/does/not/exist cannot be run"), "{ran:?}");
    assert_eq!(run(&at, &["lock", "job", "--", "/dev/null"]).code, 126);
    assert_eq!(asked(&seen, "DELETE /lock/job?token=7"), 3, "released without a command, too");
    // A signal is the command's business, and so is what comes of it.
    let script = "trap 'echo heard; exit 5' TERM; echo ready; while :; do sleep 0.1; done";
    let mut lock = Running::start(&at, &["lock", "job", "--", "sh", "-c", script]);
    assert_eq!(lock.line(), "ready");
    lock.signal(Signal::TERM);
    assert_eq!(lock.line(), "heard");
    assert_eq!(lock.wait().code(), Some(5));
    assert_eq!(asked(&seen, "DELETE /lock/job?token=7"), 4);
}
