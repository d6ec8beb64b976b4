//! Reading and writing keys from the command line.

use crate::{
    bed::{Bed, settled},
    cli::{endpoints, run, run_with},
    fake::Fake,
};
use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt};

#[test]
fn a_key_is_put_read_listed_and_deleted() {
    let bed = Bed::new();
    let node = bed.cluster(1, Bed::memory).remove(0);
    let at = endpoints(&[&node]);
    assert_eq!(run(&at, &["put", "a", "1"]).ok(), "revision 2");
    assert_eq!(run(&at, &["get", "a"]).ok(), "1");
    assert_eq!(run(&at, &["get", "--raw", "a"]).out, b"1", "not even a line feed");
    assert_eq!(
        run(&at, &["get", "-o", "json", "a"]).ok(),
        r#"{"key":"a","value":"1","create_revision":2,"mod_revision":2,"version":1}"#
    );
    // What it was before.
    assert_eq!(run(&at, &["put", "a", "2", "--prev"]).ok(), "revision 3\nprevious 1");
    assert_eq!(run(&at, &["put", "n", "x", "--prev"]).ok(), "revision 4");
    assert_eq!(run(&at, &["get", "a", "--at", "2"]).ok(), "1");
    assert_eq!(run(&at, &["get", "a", "--consistency", "stale"]).ok(), "2");
    assert_eq!(run(&at, &["get", "a", "--min-revision", "4"]).ok(), "2");
    assert_eq!(run(&at, &["ls"]).ok(), "a\nn");
    assert_eq!(run(&at, &["ls", "--values", "--reverse"]).ok(), "n\tx\na\t2");
    assert_eq!(run(&at, &["ls", "--count", "a"]).ok(), "1");
    assert_eq!(run(&at, &["ls", "nothing-begins-so"]).ok(), "");
    assert_eq!(run(&at, &["del", "a", "--prev"]).ok(), "deleted 1\nprevious 2");
    let gone = run(&at, &["get", "a"]);
    assert!(gone.failed(1).starts_with("key 'a' not found (key_not_found)."), "{gone:?}");
    assert!(run(&at, &["del", "a"]).failed(1).contains("key_not_found"));
    assert!(run(&at, &["del", "a", "--prev"]).failed(1).contains("key_not_found"));
    let told = run(&at, &["del", "--prefix", "n", "-o", "json"]);
    assert_eq!(told.ok(), r#"{"deleted":1,"revision":6}"#);
    assert_eq!(run(&at, &["del", "--all"]).ok(), "deleted 0", "a range may be empty");
}

#[test]
fn conditions_hold_or_nothing_is_changed() {
    let bed = Bed::new();
    let node = bed.cluster(1, Bed::memory).remove(0);
    let at = endpoints(&[&node]);
    assert_eq!(run(&at, &["put", "a", "1", "--create"]).ok(), "revision 2");
    for args in [
        &["put", "a", "2", "--create"] as &[_],
        &["put", "a", "2", "--create", "--prev"],
        &["put", "a", "2", "--if-revision", "9"],
        &["put", "a", "2", "--if-revision", "9", "--prev"],
        &["del", "a", "--if-revision", "9"],
        &["del", "a", "--if-revision", "9", "--prev"],
    ] {
        assert!(run(&at, args).failed(1).contains("(precondition_failed)"), "{args:?}");
    }
    let now = run(&at, &["put", "a", "2", "--create"]);
    assert!(now.failed(1).ends_with("it is at revision 2"), "{now:?}");
    let now = run(&at, &["put", "b", "2", "--if-revision", "2"]);
    assert!(now.failed(1).ends_with("there is no such key"), "{now:?}");
    assert_eq!(run(&at, &["get", "a"]).ok(), "1");
    assert_eq!(run(&at, &["put", "a", "2", "--if-revision", "2"]).ok(), "revision 3");
    // For programs, the problem says what is there instead.
    let failed = run(&at, &["put", "a", "3", "--if-revision", "2", "-o", "json"]);
    let problem: serde_json::Value = serde_json::from_str(failed.failed(1)).expect("JSON");
    assert_eq!(
        (&problem["applied"], &problem["current"]["mod_revision"]),
        (&"no".into(), &3.into())
    );
    assert_eq!(run(&at, &["del", "a", "--if-revision", "3"]).ok(), "deleted 1");
}

#[test]
fn a_transaction_tells_whether_its_conditions_held() {
    let bed = Bed::new();
    let node = bed.cluster(1, Bed::memory).remove(0);
    let at = endpoints(&[&node]);
    let txn = r#"{"if":[{"key":"a","exists":false}],"then":[{"put":{"key":"a","value":"1"}}],
                  "else":[{"get":{"key":"a"}}]}"#;
    let first = run(&at, &["txn", txn, "-o", "json"]);
    assert_eq!((first.code, &first.json()["succeeded"]), (0, &true.into()));
    // The other branch ran: it is told, and the code says that the conditions did not hold.
    let second = run_with(&at, &["txn", "-"], txn.as_bytes());
    assert_eq!((second.code, second.err.as_str()), (1, ""));
    assert_eq!(second.json()["results"][0]["get"]["items"][0]["value"], "1");
    let file = bed.path().join("txn.json");
    fs::write(&file, r#"{"if":[{"key":"a","exists":false}],"then":[]}"#).expect("a file");
    let third = run(&at, &["txn", "--file", file.to_str().expect("text")]);
    assert!(third.failed(1).contains("(precondition_failed)"), "{third:?}");
    let wrong = run(&at, &["txn", "{}x"]);
    assert!(wrong.failed(3).contains("(invalid_txn)"), "{wrong:?}");
}

#[test]
fn every_byte_goes_in_and_comes_out() {
    let bed = Bed::new();
    let node = bed.cluster(1, Bed::memory).remove(0);
    let at = endpoints(&[&node]);
    let all: Vec<u8> = (0..=255).chain([b'\n']).collect();
    assert_eq!(run_with(&at, &["put", "bytes", "-"], &all).ok(), "revision 2");
    assert_eq!(run(&at, &["get", "--raw", "bytes"]).out, all);
    // As it is, for a program that reads it; the line feed is ours.
    assert_eq!(run(&at, &["get", "bytes"]).out, [&all[..], b"\n"].concat());
    let file = bed.path().join("value");
    fs::write(&file, &all).expect("a file");
    let file = file.to_str().expect("text");
    assert_eq!(run(&at, &["put", "file", "--file", file, "--prev"]).ok(), "revision 3");
    assert_eq!(run(&at, &["get", "--raw", "file"]).out, all);
    // An empty value, one that looks like an option, and one that is JSON.
    assert_eq!(run_with(&at, &["put", "empty", "-"], b"").ok(), "revision 4");
    assert_eq!(run(&at, &["get", "--raw", "empty"]).out, b"");
    assert_eq!(run(&at, &["put", "dash", "-5"]).ok(), "revision 5");
    assert_eq!(run(&at, &["get", "dash"]).ok(), "-5");
    assert_eq!(run(&at, &["put", "--json", "json", r#"{"n": 1.50}"#]).ok(), "revision 6");
    assert_eq!(node.get("/key/json").body, r#"{"json":{"n":1.50}}"#);
    assert!(run(&at, &["put", "--json", "json", "{"]).failed(3).contains("(invalid_json)"));
}

#[test]
fn keys_of_any_bytes_are_named_and_listed() {
    let bed = Bed::new();
    let node = bed.cluster(1, Bed::memory).remove(0);
    let at = endpoints(&[&node]);
    let keys: [&[u8]; 8] = [
        b"a/b//c/",
        b"../.",
        b"with space + % ? # & =",
        b"line\nfeed\ttab\\",
        "Größe".as_bytes(),
        b"\xff\x80\x01",
        b"-dash",
        b"%41",
    ];
    for (n, key) in keys.iter().enumerate() {
        let mut command = crate::cli::command(&at, &["put", "--"]);
        command.arg(OsStr::from_bytes(key)).arg(n.to_string());
        assert_eq!(crate::cli::finish(command, b"").code, 0, "{key:?}");
    }
    for (n, key) in keys.iter().enumerate() {
        let mut command = crate::cli::command(&at, &["get", "--"]);
        command.arg(OsStr::from_bytes(key));
        assert_eq!(crate::cli::finish(command, b"").ok(), n.to_string(), "{key:?}");
    }
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    let listed = run(&at, &["ls"]);
    assert_eq!(
        listed.ok().lines().collect::<Vec<_>>(),
        [
            "%41",
            "-dash",
            "../.",
            "Größe",
            "a/b//c/",
            "line\\nfeed\\ttab\\\\",
            "with space + % ? # & =",
            "\\xff\\x80\\x01",
        ]
    );
    let last = run(&at, &["ls", "-o", "json", "--reverse", "--limit", "1"]);
    assert!(last.ok().starts_with(r#"{"key_base64":"/4AB","value":"5""#), "{last:?}");
}

#[test]
fn a_list_is_of_one_revision_however_many_pages_it_takes() {
    let bed = Bed::new();
    let node = bed.cluster(1, Bed::memory).remove(0);
    let at = endpoints(&[&node]);
    for page in 0..3 {
        let body: Vec<String> =
            (0..1000).map(|n| format!("\"k{:05}\":\"{page}\"", page * 1000 + n)).collect();
        assert_eq!(node.post("/key", &format!("{{{}}}", body.join(","))).status, 200);
    }
    let all: Vec<String> = (0..3000).map(|n| format!("k{n:05}")).collect();
    assert_eq!(run(&at, &["ls"]).ok().lines().collect::<Vec<_>>(), all);
    let some = run(&at, &["ls", "--limit", "1500", "--start", "k00400", "--end", "k02500"]);
    assert_eq!(some.ok().lines().collect::<Vec<_>>(), &all[400..1900]);
    assert_eq!(run(&at, &["ls", "k000", "--at", "2", "-o", "json"]).ok().lines().count(), 100);
    assert_eq!(run(&at, &["ls", "k02", "--at", "2"]).ok(), "", "the third page came later");
}

#[test]
fn the_next_endpoint_is_asked_and_the_change_takes_effect_once() {
    let bed = Bed::new();
    let mut nodes = bed.cluster(3, Bed::memory);
    // The first endpoint passes the change on and loses the answer: applied, and nobody knows.
    let lossy = Fake::swallowing(nodes[0].http());
    let at = format!("{},{}", lossy.endpoint(), nodes[1].http());
    let told = run(&at, &["put", "a", "1", "-o", "json"]);
    assert_eq!(told.ok(), r#"{"key":"a","mod_revision":2,"version":1}"#);
    assert_eq!(lossy.served(), 1);
    // A delete found its key though it was gone when it was repeated.
    assert_eq!(run(&at, &["del", "a"]).ok(), "deleted 1");
    assert_eq!(lossy.served(), 2);
    // One node is dead: the command goes on to the next.
    nodes[2].kill();
    let at = endpoints(&[&nodes[2], &nodes[1]]);
    assert_eq!(run(&at, &["put", "b", "1"]).code, 0);
    assert_eq!(run(&at, &["get", "b"]).ok(), "1");
    nodes[2].start();
    settled(&nodes.iter().collect::<Vec<_>>());
}
