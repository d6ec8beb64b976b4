//! The handshake's fields: they come out as they went in, arbitrary bytes never panic, later
//! versions may add to them, and versions are agreed on.

use bytes::{Bytes, BytesMut};
use kvorum_core::raft::NodeId;
use kvorum_runtime::{
    handle::Member,
    transport::handshake::{Hello, MAX_HANDSHAKE_BYTES, Purpose, Reason, Reject, Welcome, agree},
};
use quickcheck::quickcheck;

fn member(id: u64, name: &str) -> Member {
    Member {
        id: NodeId(id),
        name: name.chars().take(60).collect(),
        raft_address: "app1:7001".to_owned(),
        http_address: "app1:8081".to_owned(),
    }
}

quickcheck! {
    fn hello_comes_out_as_it_went_in(
        id: u64,
        name: String,
        cluster: Option<u64>,
        expected: Option<u64>,
        added: Vec<u8>
    ) -> bool {
        let hello = Hello {
            versions: (1, 3),
            purpose: if id.is_multiple_of(2) { Purpose::Peer } else { Purpose::Probe },
            cluster,
            caller: member(id, &name),
            expected: expected.map(NodeId),
        };
        let mut out = BytesMut::new();
        hello.encode(&mut out);
        let fits = out.len() <= MAX_HANDSHAKE_BYTES;
        out.extend_from_slice(&added);
        fits && Hello::decode(out.freeze()) == Ok(hello)
    }

    fn welcome_comes_out_as_it_went_in(
        id: u64,
        name: String,
        cluster: Option<u64>,
        knows: Option<bool>,
        added: Vec<u8>
    ) -> bool {
        let welcome = Welcome { version: 2, cluster, acceptor: member(id, &name), member: knows };
        let mut out = BytesMut::new();
        welcome.encode(&mut out);
        out.extend_from_slice(&added);
        Welcome::decode(out.freeze()) == Ok(welcome)
    }

    fn reject_comes_out_as_it_went_in(id: u64, cluster: Option<u64>, added: Vec<u8>) -> bool {
        [
            Reason::NotYet,
            Reason::OtherCluster,
            Reason::OtherIncarnation,
            Reason::Version { min: 3, max: 9 },
            Reason::Unknown(200),
        ]
        .into_iter()
        .all(|reason| {
            let reject = Reject { reason, cluster, acceptor: member(id, "app1") };
            let mut out = BytesMut::new();
            reject.encode(&mut out);
            out.extend_from_slice(&added);
            Reject::decode(out.freeze()) == Ok(reject)
        })
    }

    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) -> bool {
        let mut greeted = b"kvorum raft\r\n\r\n".to_vec();
        greeted.extend_from_slice(&bytes);
        let _ = Hello::decode(greeted.into());
        let bytes = Bytes::from(bytes);
        let _ = Welcome::decode(bytes.clone());
        let _ = Reject::decode(bytes.clone());
        Hello::decode(bytes).is_err()
    }
}

#[test]
fn a_name_beyond_all_measure_is_refused() {
    let mut caller = member(1, "");
    caller.name = "x".repeat(2000);
    let hello =
        Hello { versions: (1, 1), purpose: Purpose::Peer, cluster: None, caller, expected: None };
    let mut out = BytesMut::new();
    hello.encode(&mut out);
    assert!(Hello::decode(out.freeze()).is_err());
}

#[test]
fn the_highest_common_version_is_spoken() {
    assert_eq!(agree(1..=1, (1, 1)), Some(1));
    assert_eq!(agree(1..=3, (2, 5)), Some(3));
    assert_eq!(agree(2..=5, (1, 3)), Some(3));
    assert_eq!(agree(1..=9, (4, 4)), Some(4));
    assert_eq!(agree(1..=2, (3, 5)), None);
    assert_eq!(agree(3..=5, (1, 2)), None);
    assert_eq!(agree(1..=5, (4, 2)), None, "a range turned around is no range");
}

#[test]
fn a_refusal_reads_as_one_line_with_cause_and_place() {
    let line =
        |reason| Reject { reason, cluster: Some(0xbeef), acceptor: member(1, "app1") }.to_string();
    for (reason, words) in [
        (Reason::NotYet, "no cluster in common"),
        (Reason::OtherCluster, "000000000000beef"),
        (Reason::OtherIncarnation, "new identity n1"),
        (Reason::Version { min: 7, max: 9 }, "7 to 9"),
        (Reason::Unknown(200), "200"),
    ] {
        let line = line(reason);
        assert!(line.contains(words), "{line}");
        assert!(line.contains("app1") && line.contains("app1:7001"), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }
}
