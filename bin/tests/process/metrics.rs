//! The page for Prometheus of real nodes: its form, its documentation, and that traffic moves it.

use crate::{
    bed::{Bed, eventually, leader, settled},
    node::Node,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A family of a page.
#[derive(Debug, Clone, Default)]
struct Family {
    kind: String,
    help: String,
    /// Name with suffix, labels, value.
    samples: Vec<(String, String, f64)>,
}

/// Reads a page as the text format 0.0.4 says; whatever does not fit fails the test.
fn parse(page: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help has a text");
            assert!(!families.contains_key(name), "{name} comes twice");
            let family = Family { help: help.to_owned(), ..Family::default() };
            families.insert(name.to_owned(), family);
            current = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type has a word");
            assert_eq!(name, current, "type and help belong together");
            families.get_mut(name).unwrap().kind = kind.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"));
            let family = families.get_mut(&current).expect("a family before its samples");
            let suffix = name.strip_prefix(&current).unwrap_or_else(|| panic!("{line}"));
            match family.kind.as_str() {
                "histogram" => assert!(["_bucket", "_sum", "_count"].contains(&suffix), "{line}"),
                _ => assert_eq!(suffix, "", "{line}"),
            }
            let number = value.parse().unwrap_or_else(|_| panic!("{line}"));
            family.samples.push((name.to_owned(), labels.to_owned(), number));
        }
    }
    families
}

fn scrape(node: &Node) -> BTreeMap<String, Family> {
    parse(&node.get("/metrics").body)
}

/// All that a family has counted; of a histogram, its observations.
fn total(family: &Family) -> f64 {
    let counted = family
        .samples
        .iter()
        .filter(|(name, _, _)| family.kind != "histogram" || name.ends_with("_count"));
    counted.map(|(_, _, value)| value).sum()
}

/// The largest of the family's values over all nodes.
fn most(pages: &[BTreeMap<String, Family>], name: &str) -> f64 {
    pages.iter().filter_map(|page| page.get(name)).map(total).fold(0.0, f64::max)
}

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `(name, type, meaning)` of the rows of docs/metrics.md.
fn documented() -> Vec<(String, String, String)> {
    let document = document("metrics.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let name = cells[0].trim_end_matches('`').to_owned();
        (name, cells[1].to_owned(), cells[2].trim_end_matches(" |").to_owned())
    })
    .collect()
}

/// What does not move in this test, and why that is right or where else it is seen to move.
const STILL: [(&str, &str); 12] = [
    ("kvorum_raft_ignored_messages_total", "http_metrics.rs; the core's tests make each reason"),
    ("kvorum_raft_refused_requests_total", "http_metrics.rs; the core's tests make each reason"),
    ("kvorum_disk_slow", "the disk is not slow; node/disk_watch.rs"),
    ("kvorum_disk_fsync_recent_p99_seconds", "needs thirty seconds; node/disk_watch.rs"),
    ("kvorum_http_abandoned_total", "http_metrics.rs"),
    ("kvorum_http_connections_refused_total", "http_protocol.rs reaches the limit"),
    ("kvorum_raft_divergences_total", "the nodes agree; the core's tests make them differ"),
    ("kvorum_snapshot_failures_total", "no transfer breaks here; the simulator's do"),
    ("kvorum_snapshot_staged_bytes", "no transfer is under way at the scrape"),
    ("kvorum_peer_snapshot_bytes", "no transfer is under way at the scrape"),
    ("kvorum_watch_fell_behind_total", "http_watch.rs has a slow client"),
    ("kvorum_watch_cut_total", "http_watch.rs has a client that reads nothing"),
];
/// What may be zero at the moment of a scrape.
const MOMENTARY: [&str; 9] = [
    "kvorum_watches_lagging",
    "kvorum_watch_queue_bytes",
    "kvorum_peer_inflight_appends",
    "kvorum_peer_inflight_bytes",
    "kvorum_peer_queue_messages",
    "kvorum_peer_queue_bytes",
    "kvorum_peer_lag_entries",
    "kvorum_queue_depth",
    "kvorum_store_quota_forecast_seconds",
];

#[test]
fn every_metric_is_well_formed_documented_and_moved_by_traffic() {
    let bed = Bed::new();
    let small = |bed: &Bed, name: &str| {
        let mut node = bed.durable(name);
        // Small enough that logs are compacted and a newcomer needs a snapshot.
        node.set("KVORUM_CHECKPOINT_BYTES", "64KiB")
            .set("KVORUM_COMPACT_AFTER_BYTES", "64KiB")
            .set("KVORUM_KEEP_ENTRIES", "10");
        node
    };
    let mut nodes = bed.cluster(3, small);
    traffic(&nodes);
    // A leader dies and comes back; a fourth comes in through a snapshot.
    let dead = leader(&nodes);
    nodes[dead].kill();
    leader(&nodes);
    let alive = (dead + 1) % 3;
    eventually("writes go on", || {
        (nodes[alive].post("/key", r#"{"after":"1"}"#).status == 200).then_some(())
    });
    nodes[dead].start();
    settled(&nodes.iter().collect::<Vec<_>>());
    let mut fourth = small(&bed, "app4");
    fourth.join(&nodes[0]).start();
    nodes.push(fourth);
    settled(&nodes.iter().collect::<Vec<_>>());
    traffic(&nodes);
    let settings = r#"{"quota":"1GiB"}"#;
    assert_eq!(nodes[1].request("PATCH", "/settings", Some(settings)).unwrap().status, 200);
    assert_eq!(nodes[2].post("/compact", r#"{"revision":50}"#).status, 200);
    nodes[2].delete("/key/nobody");
    let put = nodes[1].request("PUT", "/key/leased?ttl=60s", Some("1")).unwrap();
    assert_eq!(put.status, 201);
    let lease = nodes[0].post("/lease", r#"{"ttl":"60s"}"#).json();
    let ended = nodes[2].delete(&format!("/lease/{}", lease["id"].as_str().unwrap()));
    assert_eq!(ended.status, 200);
    let _watch = open_watch(&nodes[0]);
    nodes[0].put("watched", "1");
    eventually("the watch is told", || {
        (most(&[scrape(&nodes[0])], "kvorum_watch_events_total") > 0.0).then_some(())
    });

    let pages: Vec<BTreeMap<String, Family>> = nodes.iter().map(scrape).collect();
    let mut met: BTreeMap<String, Family> = BTreeMap::new();
    for page in &pages {
        for (name, family) in page {
            well_formed(name, family);
            met.entry(name.clone()).or_insert_with(|| family.clone());
        }
    }
    let told: Vec<(String, String, String)> = met
        .iter()
        .map(|(name, family)| (name.clone(), family.kind.clone(), family.help.clone()))
        .collect();
    let mut known = documented();
    known.sort();
    if std::env::var_os("UPDATE_METRICS").is_some() {
        for (name, kind, help) in &told {
            println!("| `{name}` | {kind} | {help} |");
        }
    }
    assert_eq!(told, known, "docs/metrics.md and the page differ (left: the page)");
    let unmoved: Vec<&String> = met
        .keys()
        .filter(|name| {
            let still = STILL.iter().any(|(still, _)| still == name);
            !still && !MOMENTARY.contains(&name.as_str()) && most(&pages, name) == 0.0
        })
        .collect();
    assert!(unmoved.is_empty(), "not moved: {unmoved:?}");
    for name in STILL.iter().map(|(name, _)| name).chain(&MOMENTARY) {
        assert!(met.contains_key(*name), "{name} does not exist");
    }
}

fn traffic(nodes: &[Node]) {
    let value = "v".repeat(2000);
    for round in 0..120 {
        nodes[round % nodes.len()].put(&format!("k{}", round % 20), &value);
    }
    for node in nodes {
        assert_eq!(node.read("k1"), Some(value.clone()));
        assert_eq!(node.read("nobody"), None);
    }
}

/// A watch that stays open as long as the stream is held.
fn open_watch(node: &Node) -> std::net::TcpStream {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(node.http()).expect("the node listens");
    let request = format!("GET /watch?prefix=watched HTTP/1.1\r\nHost: {}\r\n\r\n", node.http());
    stream.write_all(request.as_bytes()).expect("the request is written");
    let mut begun = [0; 12];
    stream.read_exact(&mut begun).expect("the watch begins");
    assert_eq!(&begun, b"HTTP/1.1 200");
    stream
}

/// The conventions of https://prometheus.io/docs/practices/naming/.
fn well_formed(name: &str, family: &Family) {
    let of_ours = name.starts_with("kvorum_") || name.starts_with("process_");
    assert!(of_ours, "{name}: no prefix");
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    assert!(name.chars().all(plain) && !name.contains("__"), "{name}");
    let begins = |c: char| c.is_uppercase() || c.is_ascii_digit();
    assert!(family.help.len() > 3 && family.help.starts_with(begins), "{name}");
    assert_eq!(family.kind == "counter", name.ends_with("_total"), "{name}: {}", family.kind);
    assert!(["counter", "gauge", "histogram"].contains(&family.kind.as_str()), "{name}");
    for unit in ["_ms", "_milliseconds", "_micros", "_kib", "_mib", "_kb", "_mb", "_percent"] {
        assert!(!name.contains(unit), "{name}: not a base unit");
    }
    let says_time = family.help.starts_with("Time ") && family.kind != "counter";
    assert!(!says_time || name.contains("_seconds"), "{name}: a time without its unit");
    let says_bytes = family.help.starts_with("Bytes ");
    assert!(!says_bytes || name.contains("_bytes"), "{name}: bytes without their unit");
    let mut seen = BTreeSet::new();
    for (sample, labels, value) in &family.samples {
        assert!(seen.insert((sample, labels)), "{sample}{{{labels}}} comes twice");
        assert!(value.is_finite() && *value >= 0.0, "{sample}{{{labels}}} is {value}");
    }
    if family.kind == "histogram" {
        buckets_add_up(name, family);
    }
}

fn buckets_add_up(name: &str, family: &Family) {
    let mut last: BTreeMap<String, f64> = BTreeMap::new();
    let mut ends: BTreeMap<String, f64> = BTreeMap::new();
    for (sample, labels, value) in &family.samples {
        if !sample.ends_with("_bucket") {
            continue;
        }
        let (rest, bound) = labels.split_once("le=").expect("a bucket has a bound");
        let series = rest.trim_end_matches(',').to_owned();
        let before = last.insert(series.clone(), *value).unwrap_or(0.0);
        assert!(*value >= before, "{name}{{{labels}}} shrinks");
        if bound.starts_with("\"+Inf\"") {
            ends.insert(series, *value);
        }
    }
    for (sample, labels, value) in &family.samples {
        if sample.ends_with("_count") {
            assert_eq!(ends.get(labels), Some(value), "{name}{{{labels}}}: count and +Inf");
        }
    }
}

#[test]
fn the_dashboard_and_the_alerts_name_metrics_that_exist() {
    let names: BTreeSet<String> = documented()
        .into_iter()
        .flat_map(|(name, kind, _)| match kind.as_str() {
            "histogram" => {
                ["", "_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")).to_vec()
            }
            _ => vec![name],
        })
        .collect();
    let dashboard = document("grafana/kvorum.json");
    let parsed: serde_json::Value =
        serde_json::from_str(&dashboard).expect("the dashboard is JSON");
    let panels = parsed["panels"].as_array().expect("the dashboard has panels");
    let graphs = panels.iter().filter(|panel| panel["type"] != "row");
    for panel in graphs {
        let targets = panel["targets"].as_array().map_or(0, Vec::len);
        assert!(targets > 0, "{} shows nothing", panel["title"]);
    }
    let alerts = document("grafana/alerts.yaml");
    let mut count = 0;
    for (file, text) in [("kvorum.json", &dashboard), ("alerts.yaml", &alerts)] {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for word in words.filter(|word| word.starts_with("kvorum_") || word.starts_with("process_"))
        {
            assert!(names.contains(word), "{file} names {word}, which does not exist");
            count += 1;
        }
    }
    assert!(count > 50, "only {count} names were found");
    for alert in alerts.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap_or("");
        for part in ["expr:", "for:", "severity:", "summary:", "description:"] {
            assert!(alert.contains(part), "{name} has no {part}");
        }
    }
}
