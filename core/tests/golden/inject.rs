//! Messages from nowhere: what a script makes a node receive.

use crate::{
    notation::{Words, entries, entry_id, link, node_id, number, voters},
    world::World,
};
use bytes::Bytes;
use kvorum_core::raft::*;
use std::collections::BTreeMap;

impl World {
    /// `inject n1->n2 term=3 append=4@2 entries=5@3 commit=4`; `at=n3` lets it reach another node.
    /// It has the chain that the entry has wherever it is on a disk, unless the script says
    /// `chain=7`, or `damaged=yes` of the last entry.
    pub fn inject(&mut self, words: &Words) {
        let (from, to) = link(words.words[1]);
        let term = Term(words.number("term").expect("a term"));
        let envelope = Envelope {
            from,
            to,
            epoch: words.number("epoch").unwrap_or(0),
            term,
            message: message(words, &self.chains),
        };
        let at = words.option("at").map_or(to, node_id);
        self.handle(at, Event::Received(envelope));
        self.drain();
    }
}

fn message(words: &Words, chains: &BTreeMap<EntryId, Chain>) -> Message {
    let option = |name: &str| words.option(name);
    let index = |name: &str| Index(words.number(name).unwrap_or(0));
    let yes = |name: &str| words.option(name) == Some("yes");
    let sequence = words.number("reads").unwrap_or(0);
    let commit = index("commit");
    if let Some(prev) = option("append") {
        let prev = entry_id(prev);
        let known = chains.get(&prev).copied().unwrap_or_default();
        let prev_chain = words.number("chain").map_or(known, Chain);
        let mut entries = entries(prev_chain, option("entries").unwrap_or(""));
        if yes("damaged") {
            entries.last_mut().expect("an entry to damage").chain.0 ^= 1;
        }
        Message::Append { prev, prev_chain, entries, commit, sequence }
    } else if let Some(last) = option("matched") {
        let outcome = AppendOutcome::Matched { last: Index(number(last)) };
        Message::AppendReply { outcome, sequence }
    } else if let Some(prev) = option("rejected") {
        let hint = entry_id(option("hint").expect("a hint"));
        let outcome = AppendOutcome::Rejected { prev: entry_id(prev), hint, staged: None };
        Message::AppendReply { outcome, sequence }
    } else if let Some(last) = option("prevote") {
        Message::PreVote { last: entry_id(last) }
    } else if option("prevoted").is_some() {
        Message::PreVoteReply { granted: yes("prevoted") }
    } else if let Some(last) = option("vote") {
        Message::RequestVote { last: entry_id(last), transfer: yes("handed") }
    } else if option("voted").is_some() {
        Message::VoteReply { granted: yes("voted") }
    } else if let Some(data) = option("chunk") {
        let meta = meta(words, chains);
        let data = Bytes::copy_from_slice(data.as_bytes());
        let offset = words.number("offset").unwrap_or(0);
        // The digest of a stream whose beginning is `before=abc`.
        let beginning = option("before").unwrap_or("").as_bytes();
        let before = StreamDigest::default().then(0, beginning);
        Message::InstallSnapshot { meta, offset, data, before, last: yes("last"), sequence }
    } else if let Some(end) = option("holds") {
        let last = entry_id(option("of").expect("of=4@1"));
        let digest = StreamDigest::default();
        Message::SnapshotReply { last, end: number(end), digest, installed: false, sequence }
    } else if let Some(last) = option("installed") {
        let (last, digest) = (entry_id(last), StreamDigest::default());
        Message::SnapshotReply { last, end: 0, digest, installed: true, sequence }
    } else if let Some(id) = option("ask") {
        Message::ReadIndex { id: ReadId(number(id)) }
    } else if let Some(id) = option("answer") {
        let index = option("index").map(|index| Index(number(index)));
        Message::ReadIndexReply { id: ReadId(number(id)), index }
    } else if option("campaign").is_some() {
        Message::TimeoutNow
    } else if let Some(sequence) = option("heard") {
        Message::HeartbeatReply { sequence: number(sequence), state: None, staged: None }
    } else {
        Message::Heartbeat { commit, sequence, compare: None, proven: None }
    }
}

fn meta(words: &Words, chains: &BTreeMap<EntryId, Chain>) -> SnapshotMeta {
    let last = entry_id(words.option("of").expect("of=4@1"));
    let known = chains.get(&last).copied().unwrap_or_default();
    SnapshotMeta {
        last,
        chain: words.number("chain").map_or(known, Chain),
        membership: voters(words.option("members").unwrap_or("")),
        membership_index: Index(words.number("set").unwrap_or(0)),
    }
}
