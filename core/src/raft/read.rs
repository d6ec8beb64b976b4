//! Linearizable reads without the log (ReadIndex, §6.4).
//!
//! Rule: reads are gathered into rounds; a round remembers the commit index, takes the next sequence
//! number, and is confirmed when a quorum has echoed that number or a later one: then nobody else
//! can have led when it began. Reads wait until the leader has committed an entry of its own term,
//! because before that its commit index may be old. Followers ask the leader, batch by batch. Must
//! never: confirm a read by an answer to something sent before it, take a follower's own commit
//! index, or leave a read without an answer: each gets exactly one, within an election time-out.

use super::{
    message::Message,
    output::ReadReady,
    quorum,
    raft::Raft,
    refused::{Full, Ignored, ReadFailure, Refused},
    role::{Follower, Role},
    timer::Timer,
    types::{Index, Instant, NodeId, ReadId},
};
use alloc::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    vec::Vec,
};

/// Rounds under way at a leader; reads that come meanwhile share the next one.
const MAX_ROUNDS: usize = 4;
/// Batches under way from a follower; likewise.
const MAX_BATCHES: usize = 16;

/// A leader's reads. Its own: at most `Config::max_pending_reads`; of each peer: `MAX_BATCHES`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Reads {
    queued: VecDeque<Waiting>,
    /// At most `MAX_ROUNDS`.
    rounds: VecDeque<Round>,
    /// Of the latest round.
    sequence: u64,
    /// How many are this node's own.
    own: usize,
    /// How many are each peer's; no zeros.
    peers: BTreeMap<NodeId, usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Round {
    sequence: u64,
    index: Index,
    reads: Vec<Waiting>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Waiting {
    origin: Origin,
    until: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Origin {
    Here(ReadId),
    Peer(NodeId, ReadId),
}

/// A follower's reads, on their way to the leader and back. At most `Config::max_pending_reads`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Forwarded {
    queued: VecDeque<(ReadId, Instant)>,
    /// At most `MAX_BATCHES`.
    batches: VecDeque<Batch>,
    /// Names batches. Starts at random, so that an answer to an earlier life finds nothing.
    next: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Batch {
    id: ReadId,
    leader: NodeId,
    reads: Vec<ReadId>,
    until: Instant,
}

impl Reads {
    /// The sequence number that everything sent now carries.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// This node's own reads that wait.
    pub fn own(&self) -> usize {
        self.own
    }

    /// Whether the counts are right and within bounds.
    pub fn is_consistent(&self) -> bool {
        let all = self.rounds.iter().flat_map(|round| &round.reads).chain(&self.queued);
        let peers: usize = self.peers.values().sum();
        all.count() == self.own + peers
            && self.peers.values().all(|n| (1..=MAX_BATCHES).contains(n))
    }

    fn add(&mut self, origin: Origin, until: Instant) {
        match origin {
            Origin::Here(_) => self.own += 1,
            Origin::Peer(peer, _) => *self.peers.entry(peer).or_default() += 1,
        }
        self.queued.push_back(Waiting { origin, until });
    }

    fn answered(&mut self, origin: Origin) {
        match origin {
            Origin::Here(_) => self.own -= 1,
            Origin::Peer(peer, _) => {
                if let Entry::Occupied(mut count) = self.peers.entry(peer) {
                    *count.get_mut() -= 1;
                    if *count.get() == 0 {
                        count.remove();
                    }
                }
            }
        }
    }

    /// When each read is given up.
    pub fn moments(&mut self) -> impl Iterator<Item = &mut Instant> {
        let rounds = self.rounds.iter_mut().flat_map(|round| &mut round.reads);
        rounds.chain(&mut self.queued).map(|read| &mut read.until)
    }

    fn earliest(&self) -> Option<Instant> {
        let rounds = self.rounds.iter().flat_map(|round| round.reads.first());
        rounds.chain(self.queued.front()).map(|read| read.until).min()
    }
}

impl Forwarded {
    /// Nothing under way; the first batch is named after `first`.
    pub fn new(first: u64) -> Forwarded {
        Forwarded { queued: VecDeque::new(), batches: VecDeque::new(), next: first }
    }

    /// Reads waiting.
    pub fn count(&self) -> usize {
        self.queued.len() + self.batches.iter().map(|batch| batch.reads.len()).sum::<usize>()
    }

    /// When each read is given up.
    pub fn moments(&mut self) -> impl Iterator<Item = &mut Instant> {
        let batches = self.batches.iter_mut().map(|batch| &mut batch.until);
        batches.chain(self.queued.iter_mut().map(|(_, until)| until))
    }

    fn earliest(&self) -> Option<Instant> {
        let batches = self.batches.iter().map(|batch| batch.until);
        batches.chain(self.queued.front().map(|&(_, until)| until)).min()
    }
}

impl Raft {
    /// See `Raft::read`.
    pub(super) fn accept_read(&mut self, id: ReadId) -> Result<(), Refused> {
        let until = self.now.after(self.config.election_timeout);
        match &mut self.role {
            Role::Leader(leader) => {
                if leader.reads.own >= self.config.max_pending_reads {
                    return Err(Refused::Overloaded(Full::Reads));
                }
                leader.reads.add(Origin::Here(id), until);
            }
            Role::Follower(Follower { leader: Some(_), .. }) => {
                if self.forwarded.count() >= self.config.max_pending_reads {
                    return Err(Refused::Overloaded(Full::Reads));
                }
                self.forwarded.queued.push_back((id, until));
            }
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {
                return Err(Refused::NotLeader { leader: None });
            }
        }
        self.timers.set_earlier(Timer::Reads, until);
        Ok(())
    }

    /// A follower asks this node.
    pub(super) fn accept_forwarded_read(&mut self, from: NodeId, id: ReadId) {
        if !self.log.membership().contains(from) {
            return self.ignore(Ignored::Unsolicited);
        }
        let until = self.now.after(self.config.election_timeout);
        match &mut self.role {
            Role::Leader(leader)
                if leader.reads.peers.get(&from).is_none_or(|&held| held < MAX_BATCHES) =>
            {
                leader.reads.add(Origin::Peer(from, id), until);
                self.timers.set_earlier(Timer::Reads, until);
            }
            Role::Leader(_) | Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {
                self.send(from, Message::ReadIndexReply { id, index: None });
            }
        }
    }

    /// Confirms the rounds a quorum has answered and begins the next one. Part of `poll`.
    pub(super) fn drive_reads(&mut self) {
        let ready = self.own_term_committed();
        let commit = self.commit;
        let mut began = false;
        loop {
            self.confirm_rounds();
            let Role::Leader(leader) = &mut self.role else { return };
            let reads = &mut leader.reads;
            if !ready || reads.queued.is_empty() || reads.rounds.len() >= MAX_ROUNDS {
                break;
            }
            reads.sequence += 1;
            reads.rounds.push_back(Round {
                sequence: reads.sequence,
                index: commit,
                reads: reads.queued.drain(..).collect(),
            });
            began = true;
        }
        let Role::Leader(leader) = &mut self.role else { return };
        if !began || leader.reads.rounds.is_empty() {
            return;
        }
        let beat = leader.beat();
        let mut asked = Vec::new();
        for (&id, peer) in &mut leader.peers {
            if self.log.membership().is_voter(id) {
                let commit = commit.min(peer.matched);
                peer.commit_sent = peer.commit_sent.max(commit);
                asked.push((id, beat.heartbeat(commit)));
            }
        }
        for (id, message) in asked {
            self.send(id, message);
        }
    }

    fn confirm_rounds(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let own = leader.reads.sequence;
        let confirmed = quorum::reached(self.log.membership(), |id| {
            if id == self.id { own } else { leader.peers.get(&id).map_or(0, |peer| peer.sequence) }
        });
        let mut answers = Vec::new();
        while leader.reads.rounds.front().is_some_and(|round| round.sequence <= confirmed) {
            let round = leader.reads.rounds.pop_front().expect("just seen");
            answers.extend(round.reads.into_iter().map(|read| (read.origin, Ok(round.index))));
        }
        self.answer_reads(answers);
    }

    fn answer_reads(&mut self, answers: Vec<(Origin, Result<Index, ReadFailure>)>) {
        for (origin, result) in answers {
            if let Role::Leader(leader) = &mut self.role {
                leader.reads.answered(origin);
            }
            match origin {
                Origin::Here(id) => self.reads.push(ReadReady { id, result }),
                Origin::Peer(node, id) => {
                    self.send(node, Message::ReadIndexReply { id, index: result.ok() });
                }
            }
        }
    }

    /// The reign ends: what waits is told so.
    pub(super) fn fail_led_reads(&mut self) {
        let Role::Leader(leader) = &mut self.role else { return };
        let rounds = leader.reads.rounds.drain(..).flat_map(|round| round.reads);
        let failed = rounds
            .chain(leader.reads.queued.drain(..))
            .map(|read| (read.origin, Err(ReadFailure::LeadershipLost)))
            .collect();
        self.answer_reads(failed);
    }

    /// Another leader, or none: what was asked of the former is not answered any more.
    pub(super) fn fail_forwarded_reads(&mut self) {
        let batches = self.forwarded.batches.drain(..).flat_map(|batch| batch.reads);
        let failed: Vec<ReadId> =
            batches.chain(self.forwarded.queued.drain(..).map(|(id, _)| id)).collect();
        self.fail_here(failed, ReadFailure::LeadershipLost);
    }

    fn fail_here(&mut self, ids: Vec<ReadId>, why: ReadFailure) {
        self.reads.extend(ids.into_iter().map(|id| ReadReady { id, result: Err(why) }));
    }

    /// Asks the leader on behalf of all reads since the last poll. Part of `poll`.
    pub(super) fn forward_reads(&mut self) {
        let Role::Follower(Follower { leader: Some(leader), .. }) = self.role else { return };
        let forwarded = &mut self.forwarded;
        let Some(&(_, until)) = forwarded.queued.front() else { return };
        if forwarded.batches.len() >= MAX_BATCHES {
            return;
        }
        let id = ReadId(forwarded.next);
        forwarded.next = forwarded.next.wrapping_add(1);
        let reads = forwarded.queued.drain(..).map(|(id, _)| id).collect();
        forwarded.batches.push_back(Batch { id, leader, reads, until });
        self.send(leader, Message::ReadIndex { id });
    }

    /// The leader's answer to a batch.
    pub(super) fn finish_forwarded_read(&mut self, from: NodeId, id: ReadId, index: Option<Index>) {
        let batches = &mut self.forwarded.batches;
        let found = batches.iter().position(|batch| batch.id == id && batch.leader == from);
        let Some(batch) = found.and_then(|position| batches.remove(position)) else {
            return self.ignore(Ignored::Unsolicited);
        };
        match index {
            Some(index) => self
                .reads
                .extend(batch.reads.into_iter().map(|id| ReadReady { id, result: Ok(index) })),
            None => self.fail_here(batch.reads, ReadFailure::LeadershipLost),
        }
    }

    /// Reads that have waited an election time-out are told so.
    pub(super) fn expire_reads(&mut self) {
        let now = self.now;
        if let Role::Leader(leader) = &mut self.role {
            let mut late = Vec::new();
            let mut keep = |read: &Waiting| {
                let in_time = read.until > now;
                if !in_time {
                    late.push((read.origin, Err(ReadFailure::TimedOut)));
                }
                in_time
            };
            for round in &mut leader.reads.rounds {
                round.reads.retain(&mut keep);
            }
            leader.reads.queued.retain(&mut keep);
            leader.reads.rounds.retain(|round| !round.reads.is_empty());
            self.answer_reads(late);
        }
        let mut late = Vec::new();
        while self.forwarded.batches.front().is_some_and(|batch| batch.until <= now) {
            late.extend(self.forwarded.batches.pop_front().into_iter().flat_map(|b| b.reads));
        }
        while self.forwarded.queued.front().is_some_and(|&(_, until)| until <= now) {
            late.extend(self.forwarded.queued.pop_front().map(|(id, _)| id));
        }
        self.fail_here(late, ReadFailure::TimedOut);
        let led = match &self.role {
            Role::Leader(leader) => leader.reads.earliest(),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => None,
        };
        if let Some(next) = led.into_iter().chain(self.forwarded.earliest()).min() {
            self.timers.set_earlier(Timer::Reads, next);
        }
    }
}
