//! The configuration: defaults, every refusal with its line, and the documentation's agreement.

use kvorum_core::raft;
use kvorum_runtime::config::{
    Accepts, CLIENT_VARIABLES, Config, Limits, Log, Origin, VARIABLES, effective,
    local_http_address,
};
use quickcheck::{Arbitrary, Gen, QuickCheck};
use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf, time::Duration};

fn read(vars: &[(&str, &str)]) -> Result<Config, String> {
    Config::from_env(vars.iter().copied()).map_err(|error| error.to_string())
}

/// The line that `vars` are refused with, beside a sound NODE_ID.
fn refused(vars: &[(&str, &str)]) -> String {
    let mut all = vec![("NODE_ID", "app1")];
    all.extend_from_slice(vars);
    match read(&all) {
        Ok(config) => panic!("{vars:?} was accepted: {config:?}"),
        Err(line) => line,
    }
}

#[test]
fn a_name_is_enough() {
    let config = read(&[("NODE_ID", "app1")]).unwrap();
    assert_eq!(config.name, "app1");
    assert_eq!(config.http_bind, "0.0.0.0:8080");
    assert_eq!(config.http_advertise, "127.0.0.1:8080");
    assert_eq!(config.raft_bind, "127.0.0.1:7000");
    assert_eq!(config.raft_advertise, "127.0.0.1:7000");
    assert_eq!(config.join, None);
    assert_eq!(config.dir, None);
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.raft, raft::Config::default());
    assert_eq!(config.stop_timeout, Duration::from_secs(5));
    let log = Log::from_env([("NODE_ID", "app1")]).unwrap();
    assert_eq!((log.level, log.format), ("info", "auto"));
}

#[test]
fn the_contracts_four_nodes() {
    let config = read(&[
        ("NODE_ID", "app2"),
        ("PORT", "8082"),
        ("RAFT_BIND_ADDR", "127.0.0.1:7002"),
        ("RAFT_JOIN_ADDR", "localhost:8081"),
        ("RAFT_DIR", "/data"),
        ("HOME", "/root"),
        ("KVORUM", "/somewhere/main"),
    ])
    .unwrap();
    assert_eq!(config.http_bind, "0.0.0.0:8082");
    assert_eq!(config.http_advertise, "127.0.0.1:8082");
    assert_eq!(config.raft_bind, "127.0.0.1:7002");
    assert_eq!(config.join.as_deref(), Some("localhost:8081"));
    assert_eq!(config.dir, Some(PathBuf::from("/data/app2")));
}

#[test]
fn a_compose_service_is_reached_by_its_name() {
    let config = read(&[
        ("NODE_ID", "app3"),
        ("RAFT_BIND_ADDR", "app3:7000"),
        ("RAFT_JOIN_ADDR", "http://app1:8080/"),
    ])
    .unwrap();
    assert_eq!(config.raft_advertise, "app3:7000");
    assert_eq!(config.http_advertise, "app3:8080");
    assert_eq!(config.join.as_deref(), Some("app1:8080"));
}

#[test]
fn a_wildcard_needs_an_address_to_announce() {
    let golden = "RAFT_BIND_ADDR=0.0.0.0:7000 cannot be announced to peers. \
                  Set KVORUM_RAFT_ADVERTISE=<name>:7000.";
    assert_eq!(refused(&[("RAFT_BIND_ADDR", "0.0.0.0:7000")]), golden);
    assert_eq!(
        refused(&[("RAFT_BIND_ADDR", "[::]:7001")]),
        "RAFT_BIND_ADDR=[::]:7001 cannot be announced to peers. \
         Set KVORUM_RAFT_ADVERTISE=<name>:7001."
    );
    for name in ["KVORUM_RAFT_ADVERTISE", "KVORUM_HTTP_ADVERTISE"] {
        let line = refused(&[(name, "0.0.0.0:7000")]);
        assert!(line.starts_with(name) && line.contains("cannot be announced"), "{line}");
    }
    let config = read(&[
        ("NODE_ID", "app1"),
        ("RAFT_BIND_ADDR", "0.0.0.0:7000"),
        ("KVORUM_RAFT_ADVERTISE", "app1.example:7100"),
    ])
    .unwrap();
    assert_eq!(config.raft_bind, "0.0.0.0:7000");
    assert_eq!(config.raft_advertise, "app1.example:7100");
    assert_eq!(config.http_advertise, "app1.example:8080");
}

#[test]
fn http_bound_to_one_address_is_reached_there() {
    let config = read(&[("NODE_ID", "app1"), ("KVORUM_HTTP_BIND", "127.0.0.2")]).unwrap();
    assert_eq!(config.http_bind, "127.0.0.2:8080");
    assert_eq!(config.http_advertise, "127.0.0.2:8080");
    let address = |vars: &[(&str, &str)]| local_http_address(vars.iter().copied()).unwrap();
    assert_eq!(address(&[]), "127.0.0.1:8080");
    assert_eq!(address(&[("PORT", "81"), ("KVORUM_HTTP_BIND", "[::]")]), "[::1]:81");
    assert_eq!(address(&[("KVORUM_HTTP_BIND", "127.0.0.2")]), "127.0.0.2:8080");
}

#[test]
fn a_missing_name_says_what_to_do() {
    let golden = "NODE_ID is not set. Give this node a unique name, e.g.:  NODE_ID=app1 ./main";
    assert_eq!(read(&[]).unwrap_err(), golden);
}

#[test]
fn joining_oneself_is_a_contradiction() {
    for join in ["127.0.0.1:8080", "localhost:8080", "http://LOCALHOST:8080/", "[::1]:8080"] {
        let line = refused(&[("RAFT_JOIN_ADDR", join)]);
        assert!(line.contains("is this node's own address"), "{line}");
    }
    let line = refused(&[("RAFT_BIND_ADDR", "app1:7000"), ("RAFT_JOIN_ADDR", "app1:8080")]);
    assert!(line.contains("is this node's own address"), "{line}");
    let line = refused(&[("RAFT_BIND_ADDR", "app1:7000"), ("RAFT_JOIN_ADDR", "app1:7000")]);
    assert!(line.contains("own Raft address"), "{line}");
    // Another node of this machine, by port or by address, is somebody else.
    for (bind, join) in [("0.0.0.0", "127.0.0.1:8081"), ("127.0.0.2", "127.0.0.1:8080")] {
        let vars = [("NODE_ID", "app2"), ("KVORUM_HTTP_BIND", bind), ("RAFT_JOIN_ADDR", join)];
        assert_eq!(read(&vars).unwrap().join.as_deref(), Some(join));
    }
}

#[test]
fn contradictions_name_both_variables() {
    type Vars = &'static [(&'static str, &'static str)];
    let cases: [(Vars, [&str; 2]); 4] = [
        (&[("PORT", "7000")], ["PORT=7000", "RAFT_BIND_ADDR=127.0.0.1:7000"]),
        (
            &[("KVORUM_HEARTBEAT", "200ms")],
            ["KVORUM_HEARTBEAT=200ms", "KVORUM_ELECTION_TIMEOUT=500ms"],
        ),
        (
            &[("KVORUM_REQUEST_TIMEOUT", "2m")],
            ["KVORUM_REQUEST_TIMEOUT=2m", "KVORUM_MAX_REQUEST_TIMEOUT=1m"],
        ),
        (
            &[("KVORUM_MAX_VALUE_BYTES", "3MiB")],
            ["KVORUM_MAX_VALUE_BYTES=3MiB", "KVORUM_MAX_BODY_BYTES=2MiB"],
        ),
    ];
    for (vars, names) in cases {
        let line = refused(vars);
        assert!(line.contains("contradict each other"), "{line}");
        for name in names {
            assert!(line.contains(name), "{line:?} does not say {name}");
        }
    }
}

#[test]
fn unknown_names_are_refused_with_the_nearest_one() {
    assert_eq!(
        refused(&[("KVORUM_HEARBEAT", "1s")]),
        "KVORUM_HEARBEAT is not a variable that kvorum knows. Did you mean KVORUM_HEARTBEAT?"
    );
    assert_eq!(
        refused(&[("RAFT_DIRR", "/data")]),
        "RAFT_DIRR is not a variable that kvorum knows. Did you mean RAFT_DIR?"
    );
    assert!(refused(&[("KVORUM_ZZZZZZZZZZZZZZZ", "")]).contains("docs/configuration.md"));
    // What merely looks similar belongs to somebody else.
    assert!(read(&[("NODE_ID", "a"), ("RAFT_LOG_LEVEL", "x"), ("PORTS", "y")]).is_ok());
}

#[test]
fn the_variables_of_commands_are_passed_over() {
    for (name, _) in CLIENT_VARIABLES {
        assert!(read(&[("NODE_ID", "a"), (name, "anything")]).is_ok(), "{name}");
    }
    let said = refused(&[("KVORUM_ENDPOINT", "x")]);
    assert!(said.contains("KVORUM_ENDPOINT is not a variable"), "{said}");
}

#[test]
fn what_is_in_force_is_told_with_where_it_came_from() {
    let vars = [("NODE_ID", "a"), ("RAFT_BIND_ADDR", "10.0.0.1:7"), ("PORT", "81")];
    let all = effective(vars).expect("a sound configuration");
    assert!(all.iter().map(|it| it.variable).eq(VARIABLES.iter()), "every variable, in order");
    let of = |name: &str| {
        let it = all.iter().find(|it| it.variable.name == name).expect("a variable");
        (it.value.as_deref(), it.origin)
    };
    assert_eq!(of("PORT"), (Some("81"), Origin::Environment));
    assert_eq!(of("KVORUM_LOG"), (Some("info"), Origin::Default));
    assert_eq!(of("RAFT_DIR"), (None, Origin::Default));
    assert_eq!(of("KVORUM_RAFT_ADVERTISE"), (Some("10.0.0.1:7"), Origin::Derived));
    assert_eq!(of("KVORUM_HTTP_ADVERTISE"), (Some("10.0.0.1:81"), Origin::Derived));
    assert!(effective([("NODE_ID", "a"), ("KVORUM_LOG", "loud")]).is_err());
}

/// Values that each kind of variable refuses.
fn bad(accepts: Accepts) -> Vec<String> {
    let bad: &[&str] = match accepts {
        Accepts::Name => &["", ".", "..", "a/b", "-a", ".a", "a b", "a\n", "ä", "a\u{7f}"],
        Accepts::Port => &["", "0", "65536", "http", "-1", "+80", "8080 ", "99999999999999999999"],
        Accepts::Address => &[
            "",
            ":7000",
            "app1",
            "app1:",
            "app1:0",
            "app1:99999",
            "::1:7000",
            "[::1:7000",
            "a b:1",
            "http://app1:7000",
            "127.0.0:7000",
            "256.1.1.1:7000",
            "a..b:7000",
        ],
        Accepts::Host => &["", "app1:80", "::", "a/b", "1.2.3", "[::"],
        Accepts::Url => &[
            "",
            "app1",
            "https://app1:8081",
            "ftp://app1:8081",
            "http://",
            "http://app1",
            "http://app1:8081/key",
            "http://user@app1:8081",
            "app1:8081//",
            "http://app1:8081?x",
        ],
        Accepts::Directory => &[""],
        Accepts::Duration(..) => {
            &["", "ms", "1.5s", "-1s", "1h", "5 s", "1d", "99999999999999999999s", "100000h", "x"]
        }
        Accepts::Bytes(..) => &["", "MiB", "1KB", "1 MiB", "-1", "1.5MiB", "99999999999GiB"],
        Accepts::Count(..) => &["", "-1", "1e3", "x", "99999999999999999999"],
        Accepts::Word(_) => &["", "INFO ", "verbose", "yes"],
    };
    let mut bad: Vec<String> = bad.iter().map(|&text| text.to_owned()).collect();
    match accepts {
        Accepts::Name => bad.push("x".repeat(129)),
        Accepts::Address => bad.push(format!("{}:1", "x".repeat(254))),
        Accepts::Duration(min, max) => {
            bad.push(format!("{}ms", max + 1));
            bad.extend(min.checked_sub(1).map(|below| format!("{below}ms")));
        }
        Accepts::Bytes(min, max) | Accepts::Count(min, max) => {
            bad.push((max + 1).to_string());
            bad.extend(min.checked_sub(1).map(|below| below.to_string()));
        }
        _ => {}
    }
    bad
}

#[test]
fn garbage_in_every_variable_is_one_line_with_name_value_and_what_is_accepted() {
    for variable in VARIABLES {
        for value in bad(variable.accepts) {
            // Of two values of one name the last counts, which matters for NODE_ID.
            let vars = [("NODE_ID", "app1"), (variable.name, value.as_str())];
            // Log levels are read by the other reader.
            let line = match (Config::from_env(vars), Log::from_env(vars)) {
                (Ok(_), Ok(_)) => panic!("{}={value:?} was accepted", variable.name),
                (Err(error), _) | (_, Err(error)) => error.to_string(),
            };
            assert!(line.starts_with(variable.name), "{line}");
            assert!(line.contains("is not accepted: ") && line.contains("give "), "{line}");
            assert!(!line.contains(char::is_control) && line.len() < 400, "{line:?}");
            if value.is_empty() || !value.chars().all(|c| c.is_ascii_graphic()) {
                assert!(line.contains("=\""), "{line}: the value is not quoted");
            } else {
                assert!(line.contains(value.get(..20).unwrap_or(&value)), "{line}");
            }
        }
    }
}

#[test]
fn the_bounds_themselves_are_accepted() {
    for variable in VARIABLES {
        let (min, max, unit) = match variable.accepts {
            Accepts::Duration(min, max) => (min, max, "ms"),
            Accepts::Bytes(min, max) | Accepts::Count(min, max) => (min, max, ""),
            _ => continue,
        };
        for bound in [min, max] {
            let value = format!("{bound}{unit}");
            let vars = [("NODE_ID", "app1"), (variable.name, value.as_str())];
            // At its bound a value may contradict the default of another; it is never malformed.
            if let Err(error) = Config::from_env(vars) {
                assert!(error.to_string().contains("contradict"), "{error}");
            }
        }
    }
}

#[test]
fn values_that_are_not_unicode_are_refused_except_in_a_path() {
    let broken = || OsString::from_vec(vec![b'a', 0xff]);
    let read = |name: &str| {
        let vars = [("NODE_ID", OsString::from("app1")), (name, broken())];
        Config::from_env(vars)
    };
    assert!(read("PORT").unwrap_err().to_string().starts_with("PORT="));
    assert_eq!(read("RAFT_DIR").unwrap().dir, Some(PathBuf::from(broken()).join("app1")));
}

#[test]
fn the_documentation_lists_every_variable_as_the_code_has_it() {
    let page = include_str!("../../docs/configuration.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = VARIABLES
        .iter()
        .map(|variable| {
            let default = match variable.default.strip_prefix('(') {
                Some(words) => words.trim_end_matches(')').to_owned(),
                None => format!("`{}`", variable.default),
            };
            let (name, meaning, accepts) = (variable.name, variable.meaning, variable.accepts);
            format!("| `{name}` | {default} | {meaning} | {accepts} |")
        })
        .collect();
    assert_eq!(rows, expected, "the table must be:\n{}", expected.join("\n"));
}

/// A variable of ours or nearly, with a value that is nearly right, wild, or both.
#[derive(Debug, Clone)]
struct Wild(OsString, OsString);

impl Arbitrary for Wild {
    fn arbitrary(g: &mut Gen) -> Wild {
        const PIECES: &[&str] = &[
            "0",
            "1",
            "8080",
            "999999999999",
            "ms",
            "s",
            "m",
            "KiB",
            "GiB",
            ":",
            "/",
            "http://",
            "https://",
            "[",
            "]",
            "::",
            "127.0.0.1",
            "localhost",
            ".",
            "-",
            "é",
            "\0",
            "\n",
            "\"",
        ];
        let variable = g.choose(VARIABLES).expect("there are variables").name;
        let name = match u8::arbitrary(g) % 8 {
            0 => format!("{variable}X"),
            1 => String::arbitrary(g),
            _ => variable.to_owned(),
        };
        let value = if bool::arbitrary(g) {
            (0..usize::arbitrary(g) % 5).map(|_| *g.choose(PIECES).expect("pieces")).collect()
        } else {
            String::arbitrary(g)
        };
        Wild(name.into(), value.into())
    }
}

#[test]
fn no_environment_makes_it_panic_or_answer_with_two_lines() {
    fn property(vars: Vec<Wild>) -> bool {
        let vars = || vars.iter().map(|Wild(name, value)| (name.clone(), value.clone()));
        let lines = [
            Config::from_env(vars()).err().map(|error| error.to_string()),
            Log::from_env(vars()).err().map(|error| error.to_string()),
            local_http_address(vars()).err().map(|error| error.to_string()),
        ];
        lines.iter().flatten().all(|line| !line.contains(char::is_control) && line.len() < 1200)
    }
    QuickCheck::new().tests(3000).quickcheck(property as fn(Vec<Wild>) -> bool);
}
