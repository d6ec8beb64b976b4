//! Exit codes that scripts can trust, and lines that say what to do.

use crate::{
    bed::{Bed, eventually, leader},
    cli::{command, endpoints, finish, run},
    fake::{Fake, answer},
    node::Node,
};
use rustix::process::Signal;

#[test]
fn what_is_misspelt_is_code_2_and_one_line() {
    let at = "127.0.0.1:9";
    for (args, said) in [
        (&["gte", "a"] as &[&str], "unrecognized subcommand 'gte'"),
        (&["gett", "a"], "'get'"),
        (&["get"], "<KEY>"),
        (&["get", "a", "b"], "unexpected argument 'b'"),
        (&["get", "a", "--raww"], "'--raw'"),
        (&["get", "a", "--at", "x"], "--at"),
        (&["put", "a"], "the value is missing"),
        (&["put", "a", "1", "--file", "x"], "given twice"),
        (&["put", "a", "--file", "/does/not/exist"], "/does/not/exist cannot be read"),
        (&["put", "a", "1", "--timeout", "soon"], "give a duration"),
        (&["put", "a", "1", "--idempotency-key", "a b"], "visible ASCII"),
        (&["put", "a", "1", "--fence", "jobs"], "give NAME=TOKEN"),
        (&["put", "a", "1", "--create", "--if-revision", "1"], "cannot be used with"),
        (&["del"], "<KEY>"),
        (&["get", "a", "--endpoints", "https://x"], "not http"),
        (&["get", "a", "--endpoints", ","], "no endpoint is given"),
        (&["lock", "a"], "<COMMAND>"),
        (&["lock", "a", "--ttl", "1s", "--", "true"], "2s at least"),
        (&["lease", "grant"], "<TTL>"),
        (&["health", "--lively"], "--lively"),
    ] {
        let ran = run(at, args);
        let line = ran.failed(2);
        assert!(line.contains(said), "{args:?}: {line}");
    }
    assert!(run(at, &["get"]).failed(2).ends_with("See kvorum get --help"));
}

#[test]
fn a_command_that_reached_nobody_is_code_3() {
    let bed = Bed::new();
    let nobody = format!("{}:{},{}:{}", Bed::ip(), Bed::port(), Bed::ip(), Bed::port());
    for args in [&["get", "a"] as &[_], &["put", "a", "1"], &["ls"], &["members"], &["watch"]] {
        let ran = run(&nobody, args);
        let line = ran.failed(3);
        assert!(line.contains("(unreachable)") && line.contains("--endpoints"), "{line}");
    }
    // The Raft port of a node says what it is.
    let node = bed.cluster(1, Bed::memory).remove(0);
    let line = run(node.var("RAFT_BIND_ADDR"), &["get", "a"]);
    let line = line.failed(3);
    assert!(line.contains("Raft port") && line.contains("use the HTTP port"), "{line}");
}

#[test]
fn a_refusal_is_code_3_and_changes_nothing() {
    let bed = Bed::new();
    let node = bed.cluster(1, Bed::memory).remove(0);
    let at = endpoints(&[&node]);
    let large = bed.path().join("large");
    std::fs::write(&large, vec![b'x'; (1 << 20) + 1]).expect("a file");
    let ran = run(&at, &["put", "a", "--file", large.to_str().expect("text")]);
    assert!(ran.failed(3).contains("(value_too_large)"), "{ran:?}");
    assert!(run(&at, &["get", "a", "--at", "99"]).failed(3).contains("(future_revision)"));
    assert!(run(&at, &["transfer", "app9"]).failed(3).contains("(transfer_refused)"));
    let missing = run(&at, &["get", "a"]);
    assert_eq!(missing.code, 1, "{missing:?}");
    // The server's problem, whole, for programs.
    let ran = run(&at, &["get", "a", "--at", "99", "-o", "json"]);
    let problem: serde_json::Value = serde_json::from_str(ran.failed(3)).expect("JSON");
    assert_eq!((&problem["code"], &problem["status"]), (&"future_revision".into(), &400.into()));
}

#[test]
fn a_change_that_nobody_answers_is_code_4() {
    let silent = Fake::silent();
    let at = silent.endpoint();
    let short = ["--timeout", "1500ms"];
    for args in [
        &["put", "a", "1"] as &[&str],
        &["del", "a"],
        &["txn", "{}"],
        &["transfer", "app2"],
        &["lease", "grant", "30s"],
    ] {
        let ran = run(&at, &[args, &short].concat());
        let line = ran.failed(4);
        assert!(line.contains("The outcome is unknown."), "{line}");
    }
    // What only reads has changed nothing.
    assert!(run(&at, &["get", "a", "--timeout", "1s"]).failed(3).contains("no answer in time"));
    // Somebody else is there, and says no: the unanswered attempt may still take effect.
    let refusing = Fake::saying(vec![answer(
        "412 Precondition Failed",
        r#"{"code":"precondition_failed","message":"it does not hold","applied":"no","status":412}"#,
    )]);
    let both = format!("{at},{}", refusing.endpoint());
    let ran = run(&both, &["put", "a", "1", "--create", "--timeout", "4s"]);
    assert!(ran.failed(4).contains("it does not hold"), "{ran:?}");
    assert!(ran.err.contains("may still take effect"), "{ran:?}");
    let ran = run(&refusing.endpoint(), &["put", "a", "1", "--create"]);
    assert!(ran.failed(1).contains("it does not hold"), "{ran:?}");
}

#[test]
fn a_change_without_a_majority_is_code_4_and_its_repeat_takes_effect_once() {
    let bed = Bed::new();
    let nodes = bed.cluster(3, Bed::durable);
    nodes[0].put("a", "0");
    let at = leader(&nodes);
    let followers: Vec<&Node> = (0..3).filter(|n| *n != at).map(|n| &nodes[n]).collect();
    let leading = endpoints(&[&nodes[at]]);
    for node in &followers {
        node.signal(Signal::STOP);
    }
    let args = ["put", "a", "1", "-o", "json", "--idempotency-key", "once", "--timeout", "2s"];
    let ran = run(&leading, &args);
    let problem: serde_json::Value = serde_json::from_str(ran.failed(4)).expect("JSON");
    assert_eq!(problem["applied"], "unknown", "{problem}");
    let hint = problem["hint"].as_str().expect("a hint");
    assert!(hint.contains("--idempotency-key once"), "{hint}");
    for node in &followers {
        node.signal(Signal::CONT);
    }
    // The cure that the line names: the same command again.
    let told = eventually("the repeat is answered", || {
        let ran = run(&leading, &args);
        (ran.code == 0).then(|| ran.json())
    });
    assert_eq!(told["version"], 2, "{told}");
    assert_eq!(run(&leading, &args).json(), told, "and once more the same answer");
}

#[test]
fn without_a_leader_nothing_is_sent_and_the_code_is_3() {
    let bed = Bed::new();
    let mut nodes = bed.cluster(3, Bed::durable);
    let at = leader(&nodes);
    let left = (at + 1) % 3;
    for (n, node) in nodes.iter_mut().enumerate() {
        if n != left {
            node.kill();
        }
    }
    let alone = endpoints(&[&nodes[left]]);
    // Until it has noticed, the outcome may be open; then nobody leads, and that is certain.
    let ran = eventually("certainty", || {
        let ran = run(&alone, &["put", "a", "1", "--timeout", "2s"]);
        (ran.code == 3).then_some(ran)
    });
    assert!(ran.failed(3).contains("(no_leader)"), "{ran:?}");
    assert!(run(&alone, &["get", "a", "--timeout", "2s"]).failed(3).contains("(no_leader)"));
    assert!(run(&alone, &["get", "a", "--consistency", "stale"]).failed(1).contains("not found"));
}

#[test]
fn every_command_explains_itself_with_an_example() {
    let help = |words: &[&str]| run("", &[words, &["--help"]].concat()).ok().to_owned();
    let top = help(&[]);
    let commands = |text: &str| -> Vec<String> {
        let (_, rest) = text.split_once("Commands:\n").expect("commands");
        let lines = rest.lines().take_while(|line| line.starts_with("  "));
        lines.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
    };
    let mut all: Vec<Vec<String>> = commands(&top).into_iter().map(|name| vec![name]).collect();
    for name in ["get", "put", "del", "ls", "watch", "txn", "lock", "lease", "history", "status"] {
        assert!(all.contains(&vec![name.to_owned()]), "{name} is not listed: {all:?}");
    }
    for name in commands(&help(&["lease"])) {
        all.push(vec!["lease".to_owned(), name]);
    }
    assert!(all.len() > 20, "{all:?}");
    for words in all {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let text = help(&words);
        let example = text.split_once("Example").map(|(_, rest)| rest).unwrap_or_default();
        assert!(example.contains("kvorum"), "{words:?} has no example:\n{text}");
        let lines: Vec<&str> = text.lines().collect();
        for (n, line) in lines.iter().enumerate() {
            let line = line.trim_start();
            let option = line.starts_with('-') && !line.starts_with("- ");
            if (option || line.starts_with('<')) && !example.contains(line) {
                // Explained beside it or on the next line.
                let beside = line.contains("  ");
                let below = lines.get(n + 1).is_some_and(|next| next.starts_with("          "));
                assert!(beside || below, "{words:?} does not explain {line}");
            }
        }
    }
}

#[test]
fn the_configuration_in_force_is_shown_with_where_it_came_from() {
    let config = |vars: &[(&str, &str)], args: &[&str]| {
        let mut command = command("", args);
        command.env_clear().envs(vars.iter().copied());
        finish(command, b"")
    };
    let vars = [("NODE_ID", "app1"), ("PORT", "81"), ("KVORUM_ENDPOINTS", "x")];
    let ran = config(&vars, &["config"]);
    let row = |name: &str| -> Vec<String> {
        let line = ran.ok().lines().find(|line| line.starts_with(name)).expect(name);
        line.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(row("NODE_ID"), ["NODE_ID", "app1", "environment"]);
    assert_eq!(row("PORT"), ["PORT", "81", "environment"]);
    assert_eq!(row("RAFT_DIR"), ["RAFT_DIR", "-", "default"]);
    assert_eq!(row("KVORUM_LOG "), ["KVORUM_LOG", "info", "default"]);
    let advertised = ["KVORUM_HTTP_ADVERTISE", "127.0.0.1:81", "derived"];
    assert_eq!(row("KVORUM_HTTP_ADVERTISE"), advertised);
    assert_eq!(ran.ok().lines().count(), 1 + kvorum_runtime::config::VARIABLES.len());
    let ran = config(&vars, &["config", "-o", "json"]);
    assert_eq!(
        ran.ok().lines().next(),
        Some(r#"{"name":"NODE_ID","value":"app1","from":"environment"}"#)
    );
    // What a node would refuse is refused with its words and code.
    let ran = config(&[("NODE_ID", "app1"), ("PORT", "http")], &["config"]);
    assert!(ran.failed(64).starts_with("PORT=http is not accepted"), "{ran:?}");
}
