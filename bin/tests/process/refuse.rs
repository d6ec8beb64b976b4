//! Starts that must fail, each with one line that says what to do, and an exit code.

use crate::{bed::Bed, node::Node};
use std::{net::TcpListener, process::Command};

fn bind(address: &str) -> TcpListener {
    TcpListener::bind(address).expect("a free port")
}

#[track_caller]
fn refused(node: &mut Node, code: i32) -> String {
    let (ended, log) = node.run_to_end();
    assert_eq!(ended, code, "{log}");
    let line = log.lines().last().unwrap_or_default();
    assert!(!line.contains("panicked"), "{log}");
    line.to_owned()
}

#[test]
fn a_port_in_use_is_named() {
    let bed = Bed::new();
    let mut node = bed.memory("app1");
    let taken = bind(&node.http().to_string());
    let line = refused(&mut node, 69);
    assert!(line.contains(&format!("port {} is in use", node.var("PORT"))), "{line}");
    assert!(line.contains("PORT"), "{line}");
    drop(taken);

    let _taken = bind(node.var("RAFT_BIND_ADDR"));
    let line = refused(&mut node, 69);
    assert!(line.contains("RAFT_BIND_ADDR") && line.contains("is in use"), "{line}");
}

#[test]
fn garbage_in_a_variable_is_one_line_and_exit_code_64() {
    let bed = Bed::new();
    for (name, value, said) in [
        ("NODE_ID", "a/b", "NODE_ID=a/b is not accepted: give"),
        ("PORT", "http", "PORT=http is not accepted: give a port from 1 to 65535"),
        ("PORT", "", "PORT=\"\" is not accepted"),
        ("RAFT_BIND_ADDR", "7000", "RAFT_BIND_ADDR=7000 is not accepted: give host:port"),
        ("RAFT_BIND_ADDR", "0.0.0.0:7000", "cannot be announced to peers"),
        ("RAFT_JOIN_ADDR", "https://x:1", "RAFT_JOIN_ADDR=https://x:1 is not accepted"),
        ("RAFT_DIR", "", "RAFT_DIR=\"\" is not accepted"),
        (
            "KVORUM_STOP_TIMEOUT",
            "soon",
            "KVORUM_STOP_TIMEOUT=soon is not accepted: give a duration",
        ),
        ("KVORUM_MAX_BODY_BYTES", "2MB", "KVORUM_MAX_BODY_BYTES=2MB is not accepted: give a size"),
        ("KVORUM_LOG", "loud", "KVORUM_LOG=loud is not accepted: give one of"),
        ("KVORUM_LOK", "info", "KVORUM_LOK is not a variable that kvorum knows. Did you mean"),
    ] {
        let mut node = bed.memory("app1");
        node.set(name, value);
        let (code, log) = node.run_to_end();
        assert_eq!(code, 64, "{name}={value}: {log}");
        assert_eq!(log.lines().count(), 1, "one line, nothing else: {log}");
        assert!(log.contains(said), "{log}");
    }
}

#[test]
fn an_address_that_is_not_of_this_machine_is_refused() {
    let bed = Bed::new();
    let mut node = bed.memory("app1");
    // TEST-NET-1 (RFC 5737) is nobody's.
    node.set("RAFT_BIND_ADDR", "192.0.2.1:7000");
    let line = refused(&mut node, 69);
    assert!(line.contains("RAFT_BIND_ADDR") && line.contains("192.0.2.1:7000"), "{line}");
}

#[test]
fn a_data_directory_that_cannot_be_made_is_named() {
    let bed = Bed::new();
    let file = bed.path().join("file");
    std::fs::write(&file, "not a directory").expect("a file");
    let mut node = bed.memory("app1");
    node.set("RAFT_DIR", file.to_str().expect("text"));
    let line = refused(&mut node, 74);
    assert!(line.contains(file.to_str().expect("text")), "{line}");
}

#[test]
fn joining_at_a_raft_port_says_so() {
    let bed = Bed::new();
    let first = bed.cluster(1, Bed::memory).remove(0);
    let mut node = bed.memory("app2");
    node.set("RAFT_JOIN_ADDR", first.var("RAFT_BIND_ADDR"));
    let line = refused(&mut node, 69);
    assert!(line.starts_with("RAFT_JOIN_ADDR=") && line.contains("Raft port"), "{line}");
    assert!(line.contains("use the HTTP port"), "{line}");
}

#[test]
fn the_command_line_knows_its_words() {
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvorum"));
        let output = command.env_clear().args(args).output().expect("the binary starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, err) = run(&["--version"]);
    assert_eq!(
        (code, out.as_str()),
        (Some(0), concat!("kvorum ", env!("CARGO_PKG_VERSION"), "\n"))
    );
    assert_eq!(err, "");
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    for variable in kvorum_runtime::config::VARIABLES {
        assert!(out.contains(variable.name), "--help does not list {}", variable.name);
    }
    let (code, out, err) = run(&["serve"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("serve") && err.contains("--help"), "{err}");
    let (code, _, err) = run(&[]);
    assert_eq!(code, Some(64));
    assert!(err.starts_with("NODE_ID is not set."), "{err}");
}

#[test]
fn the_exit_codes_are_documented() {
    let page = include_str!("../../../docs/operations.md");
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvorum"));
    let help = command.arg("--help").output().expect("the binary starts");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let (_, codes) = help.split_once("Exit codes:\n").expect("--help lists the exit codes");
    assert!(codes.lines().count() > 5);
    for line in codes.lines() {
        let (code, meaning) = line.trim().split_once("  ").expect("a code and its meaning");
        assert!(page.contains(&format!("| {code} | {meaning} |")), "operations.md lacks: {line}");
    }
}

#[test]
fn health_is_the_nodes_own_word() {
    let bed = Bed::new();
    let health = |node: &Node, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvorum"));
        command.env_clear().env("PORT", node.var("PORT"));
        command.env("KVORUM_HTTP_BIND", node.var("KVORUM_HTTP_BIND"));
        let status = command.arg("health").args(args).output().expect("the binary starts").status;
        status.code()
    };
    let first = bed.cluster(1, Bed::memory).remove(0);
    assert_eq!(health(&first, &[]), Some(0));
    assert_eq!(health(&first, &["--live"]), Some(0));
    // A node that waits for a member to join is alive, and not ready.
    let mut waiting = bed.memory("app2");
    assert_eq!(health(&waiting, &["--live"]), Some(1), "nobody there");
    waiting.set("RAFT_JOIN_ADDR", &format!("{}:9", Bed::ip())).start();
    crate::bed::eventually("it is alive", || {
        (health(&waiting, &["--live"]) == Some(0)).then_some(())
    });
    assert_eq!(health(&waiting, &[]), Some(1));
}
