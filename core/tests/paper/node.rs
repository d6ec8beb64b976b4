//! One node under test: its peers' part is spoken by the tests, its disk and state machine answer at
//! once, and what leaves after a write is told apart from what leaves before.

use bytes::Bytes;
use kvorum_core::raft::{
    AppendOutcome, Chain, Config, Entry, EntryId, Envelope, Event, Evidence, Index, Instant,
    Membership, Message, NodeId, Payload, Raft, Restored, RoleName, Status, Term, Vote,
};

/// The node under test; `2` and `3` are the other voters.
pub const ME: u64 = 1;

pub struct Node {
    pub raft: Raft,
    pub now: Instant,
    /// What its disk holds of term and vote.
    pub vote: Vote,
}

/// What a node did about an event.
#[derive(Default, Debug)]
pub struct Done {
    /// What left before any write of this event was durable.
    pub at_once: Vec<Envelope>,
    /// What left once the disk had what it follows from.
    pub gated: Vec<Envelope>,
    /// Entries that went to the disk.
    pub appended: Vec<Entry>,
    pub truncated: Option<Index>,
    /// Indexes handed to the state machine.
    pub applied: Vec<u64>,
    pub fatal: Option<Evidence>,
}

impl Done {
    /// Everything said, in order.
    pub fn said(&self) -> impl Iterator<Item = &Message> {
        self.at_once.iter().chain(&self.gated).map(|envelope| &envelope.message)
    }

    /// What was said to `to`.
    pub fn to(&self, to: u64) -> Vec<&Message> {
        let said = self.at_once.iter().chain(&self.gated);
        said.filter(|envelope| envelope.to == NodeId(to))
            .map(|envelope| &envelope.message)
            .collect()
    }

    pub fn says(&self, wanted: impl Fn(&Message) -> bool) -> bool {
        self.said().any(wanted)
    }

    /// The term that every message carries.
    pub fn terms(&self) -> Vec<u64> {
        self.at_once.iter().chain(&self.gated).map(|envelope| envelope.term.0).collect()
    }
}

pub fn id(index: u64, term: u64) -> EntryId {
    EntryId { index: Index(index), term: Term(term) }
}

/// A log whose entries have these terms, the first at index 1.
pub fn log(terms: &[u64]) -> Vec<Entry> {
    let mut log = Vec::new();
    terms.iter().for_each(|&term| push(&mut log, term));
    log
}

/// A log of such entries of term 1.
pub fn entries(payloads: impl Iterator<Item = Payload>) -> Vec<Entry> {
    let mut log = Vec::new();
    payloads.for_each(|payload| push_payload(&mut log, 1, payload));
    log
}

/// Adds an entry of `term`.
pub fn push(log: &mut Vec<Entry>, term: u64) {
    push_payload(log, term, Payload::Noop);
}

fn push_payload(log: &mut Vec<Entry>, term: u64, payload: Payload) {
    let parent = log.last().map_or(Chain::START, |entry| entry.chain);
    log.push(Entry::new(parent, id(log.len() as u64 + 1, term), payload));
}

/// The append of what `log` holds after index `prev`.
pub fn append(log: &[Entry], prev: usize, commit: u64) -> Message {
    Message::Append {
        prev: prev.checked_sub(1).map_or(id(0, 0), |at| log[at].id),
        prev_chain: prev.checked_sub(1).map_or(Chain::START, |at| log[at].chain),
        entries: log[prev..].to_vec(),
        commit: Index(commit),
        sequence: 0,
    }
}

pub fn heartbeat(commit: u64) -> Message {
    Message::Heartbeat { commit: Index(commit), sequence: 0, compare: None, proven: None }
}

pub fn matched(last: u64) -> Message {
    Message::AppendReply { outcome: AppendOutcome::Matched { last: Index(last) }, sequence: 0 }
}

pub fn rejected(prev: EntryId, hint: EntryId) -> Message {
    let outcome = AppendOutcome::Rejected { prev, hint, staged: None };
    Message::AppendReply { outcome, sequence: 0 }
}

pub fn request_vote(last: EntryId) -> Message {
    Message::RequestVote { last, transfer: false }
}

pub const GRANTED: Message = Message::VoteReply { granted: true };
pub const REFUSED: Message = Message::VoteReply { granted: false };

pub fn is_match(message: &Message, index: u64) -> bool {
    *message == matched(index)
}

pub fn is_rejection(message: &Message) -> bool {
    let rejected = |outcome: &AppendOutcome| matches!(outcome, AppendOutcome::Rejected { .. });
    matches!(message, Message::AppendReply { outcome, .. } if rejected(outcome))
}

impl Node {
    /// A voter of `1, 2, 3` that has never heard of anything.
    pub fn new() -> Node {
        Node::with_voters(&[1, 2, 3])
    }

    pub fn with_voters(voters: &[u64]) -> Node {
        let mut disk = Restored::default();
        disk.base.membership = Membership {
            voters: voters.iter().copied().map(NodeId).collect(),
            contexts: voters.iter().map(|&id| (NodeId(id), Bytes::new())).collect(),
            ..Membership::default()
        };
        Node::restored(disk)
    }

    pub fn restored(disk: Restored) -> Node {
        let now = Instant(0);
        let vote = disk.vote;
        let raft = Raft::restore(NodeId(ME), Config::default(), disk, 1, now).expect("sound");
        Node { raft, now, vote }
    }

    /// A follower of `2` whose log has these terms, nothing of it committed.
    pub fn holding(terms: &[u64]) -> Node {
        let mut node = Node::new();
        let log = log(terms);
        for (at, entry) in log.iter().enumerate() {
            let done = node.hear(2, entry.id.term.0, append(&log[..=at], at, 0));
            assert!(done.says(|message| is_match(message, at as u64 + 1)), "{done:?}");
        }
        node
    }

    /// The leader of the term after `terms`, elected by `2`; its log ends in an entry of its own.
    pub fn leading(terms: &[u64]) -> Node {
        let mut node = Node::holding(terms);
        node.elect();
        node
    }

    /// The node's time-out ends, `2` agrees to everything.
    pub fn elect(&mut self) -> Done {
        self.campaign();
        let done = self.hear(2, self.status().vote.term.0, GRANTED);
        assert_eq!(self.status().role, RoleName::Leader, "{done:?}");
        done
    }

    /// The node's time-out ends, and `2` would vote for it.
    pub fn campaign(&mut self) -> Done {
        self.time_out();
        let done = self.hear(2, self.term() + 1, Message::PreVoteReply { granted: true });
        assert_eq!(self.status().role, RoleName::Candidate, "{done:?}");
        done
    }

    pub fn status(&self) -> Status<'_> {
        self.raft.status()
    }

    pub fn term(&self) -> u64 {
        self.status().vote.term.0
    }

    /// Terms of its log.
    pub fn terms(&self) -> Vec<u64> {
        let last = self.status().last.index.0;
        (1..=last).map(|at| self.raft.entry_id(Index(at)).expect("not compacted").term.0).collect()
    }

    /// The leader falls silent for as long as it is protected.
    pub fn forget_leader(&mut self) {
        self.now.0 += Config::default().election_timeout.as_nanos() as u64;
    }

    pub fn hear(&mut self, from: u64, term: u64, message: Message) -> Done {
        let (from, to, term) = (NodeId(from), NodeId(ME), Term(term));
        self.raft.handle(self.now, Event::Received(Envelope { from, to, epoch: 0, term, message }));
        self.settle()
    }

    /// Time passes until the next deadline.
    pub fn time_out(&mut self) -> Done {
        self.now = self.now.max(self.raft.deadline());
        self.raft.handle(self.now, Event::Deadline);
        self.settle()
    }

    pub fn propose(&mut self) -> Done {
        self.raft.propose(self.now, vec![Bytes::from_static(b"x")]).expect("it leads");
        self.settle()
    }

    pub fn settle(&mut self) -> Done {
        let mut done = Done::default();
        loop {
            let output = self.raft.poll(self.now);
            if output.is_empty() {
                return done;
            }
            done.at_once.extend(output.messages);
            done.fatal = done.fatal.or(output.fatal);
            if let Some(write) = output.write {
                self.vote = write.vote.unwrap_or(self.vote);
                done.truncated = done.truncated.or(write.truncate_from);
                done.appended.extend(write.append.iter().cloned());
                let durable = write.durable();
                done.gated.extend(durable.messages);
                self.raft.handle(self.now, Event::Written(durable.written));
            }
            if let Some(index) = output.committed.last().map(Entry::index) {
                done.applied.extend(output.committed.iter().map(|entry| entry.index().0));
                self.raft.handle(self.now, Event::Applied { index, digests: Vec::new() });
            }
        }
    }
}
