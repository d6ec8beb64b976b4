//! A model state machine: eight registers and a hash chain over everything applied.
//!
//! Rule: two machines with the same chain have applied the same entries in the same order. It keeps
//! what a crash may leave: the last checkpoint, or any later commit. Must never: apply an index
//! twice or leave one out (unless a planted bug says so).

use crate::rng::{digest, mix};
use bytes::Bytes;
use kvorum_core::raft::{
    Entry, EntryId, Index, NodeId, Payload, SnapshotMeta, SnapshotRequest, Staged, StagedSnapshot,
    StreamDigest, Term,
};
use std::collections::{BTreeMap, VecDeque};

/// Registers of the machine.
pub const REGISTERS: usize = 8;

/// What has been applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub meta: SnapshotMeta,
    pub chain: u64,
    pub registers: [u64; REGISTERS],
}

/// One piece of work, done in order.
#[derive(Clone, Debug)]
pub enum Job {
    Apply(VecDeque<Entry>),
    Snapshot(SnapshotRequest),
    Checkpoint,
}

/// A stream being received.
#[derive(Clone, Debug)]
pub struct Staging {
    pub meta: SnapshotMeta,
    pub bytes: Vec<u8>,
}

/// A state machine with its queue and its store.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    pub state: State,
    /// The last checkpoint: what surely survives.
    pub durable: State,
    /// Commits since then: any of them may be what survives.
    pub commits: VecDeque<State>,
    pub queue: VecDeque<Job>,
    pub staging: Option<Staging>,
    /// Streams open for peers.
    pub open: BTreeMap<NodeId, (SnapshotMeta, Bytes)>,
    pub since_checkpoint: u64,
}

/// Digest of what an entry says.
pub fn payload_digest(payload: &Payload) -> u64 {
    match payload {
        Payload::Noop => 1,
        Payload::Command(bytes) => mix(2, digest(bytes)),
        Payload::Membership(m) => {
            let mut sum = 3;
            for (mark, set) in [(1, &m.voters), (2, &m.outgoing), (3, &m.learners)] {
                for id in set {
                    sum = mix(mix(sum, mark), id.0);
                }
            }
            for (id, context) in &m.contexts {
                sum = mix(mix(sum, id.0), digest(context));
            }
            sum
        }
    }
}

/// The value a command writes.
pub fn command_value(command: &[u8]) -> u64 {
    let mut word = [0; 8];
    let known = command.len().min(8);
    word[..known].copy_from_slice(&command[..known]);
    u64::from_le_bytes(word)
}

impl State {
    /// Applies one entry.
    pub fn apply(&mut self, entry: &Entry) {
        self.chain = mix(mix(self.chain, entry.id.index.0), payload_digest(&entry.payload));
        self.meta.last = entry.id;
        self.meta.chain = entry.chain;
        match &entry.payload {
            Payload::Noop => {}
            Payload::Command(bytes) => {
                let value = command_value(bytes);
                self.registers[usize::try_from(value % REGISTERS as u64).expect("small")] = value;
            }
            Payload::Membership(membership) => {
                self.meta.membership = membership.clone();
                self.meta.membership_index = entry.id.index;
            }
        }
    }

    /// The state as a stream; `salt` changes the order of its rows.
    pub fn stream(&self, salt: u64) -> Bytes {
        let mut words = vec![salt, self.meta.last.term.0, self.meta.last.index.0, self.chain];
        let turn = usize::try_from(salt % REGISTERS as u64).expect("small");
        words.extend((0..REGISTERS).map(|i| self.registers[(i + turn) % REGISTERS]));
        let sum = words.iter().fold(7, |sum, word| mix(sum, *word));
        words.push(sum);
        words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    /// The state a stream stands for; `None` when it does not verify.
    pub fn from_stream(meta: &SnapshotMeta, bytes: &[u8]) -> Option<State> {
        if bytes.len() != 8 * (4 + REGISTERS + 1) {
            return None;
        }
        let words: Vec<u64> = bytes.chunks(8).map(command_value).collect();
        let (sum, body) = words.split_last()?;
        let last = EntryId { term: Term(body[1]), index: Index(body[2]) };
        if body.iter().fold(7, |sum, word| mix(sum, *word)) != *sum || last != meta.last {
            return None;
        }
        let mut state = State { meta: meta.clone(), chain: body[3], ..State::default() };
        let turn = usize::try_from(body[0] % REGISTERS as u64).expect("small");
        for i in 0..REGISTERS {
            state.registers[(i + turn) % REGISTERS] = body[4 + i];
        }
        Some(state)
    }
}

impl Machine {
    /// A machine that starts from `state`, all of it durable.
    pub fn starting(state: State) -> Machine {
        Machine { durable: state.clone(), state, ..Machine::default() }
    }

    /// Remembers a commit that is not synced.
    pub fn commit(&mut self) {
        const KEPT: usize = 3;
        if self.commits.len() == KEPT {
            self.commits.pop_front();
        }
        self.commits.push_back(self.state.clone());
    }

    /// Everything applied is durable now.
    pub fn checkpoint(&mut self) {
        self.durable = self.state.clone();
        self.commits.clear();
        self.since_checkpoint = 0;
    }

    /// Power fails: the checkpoint, or the `pick`-th commit after it, is what is left.
    pub fn crash(&mut self, pick: usize) {
        if let Some(state) = pick.checked_sub(1).and_then(|i| self.commits.get(i)) {
            self.durable = state.clone();
        }
        // Chunks are synced one by one; the last one may be lost, and now and then all are.
        let mut staging = self.staging.take();
        match pick % 4 {
            0 => {}
            3 => staging = None,
            lost => {
                if let Some(staging) = &mut staging {
                    let left = staging.bytes.len().saturating_sub(lost * 8);
                    staging.bytes.truncate(left);
                }
            }
        }
        *self = Machine { staging, ..Machine::starting(self.durable.clone()) };
    }

    /// Takes a chunk in: bytes held now, or `None` when there is a gap.
    pub fn store(&mut self, meta: &SnapshotMeta, offset: u64, data: &Bytes) -> Option<u64> {
        if offset == 0 {
            self.staging = Some(Staging { meta: meta.clone(), bytes: Vec::new() });
        }
        let staging = self.staging.as_mut()?;
        if staging.bytes.len() as u64 != offset {
            return None;
        }
        staging.bytes.extend_from_slice(data);
        staging.meta = meta.clone();
        Some(staging.bytes.len() as u64)
    }

    /// Makes the stream open for `peer` the very one that `staged` is the beginning of, if it can.
    pub fn resume(&mut self, peer: NodeId, staged: &Staged, salt: u64) -> bool {
        let now = (self.state.meta.clone(), self.state.stream(salt));
        let same = |(meta, bytes): &(SnapshotMeta, Bytes)| {
            let beginning = usize::try_from(staged.end).ok().and_then(|end| bytes.get(..end));
            meta.last == staged.last
                && beginning
                    .is_some_and(|bytes| StreamDigest::default().then(0, bytes) == staged.digest)
        };
        let found = self.open.remove(&peer).into_iter().chain([now]).find(same);
        found.is_some_and(|stream| self.open.insert(peer, stream).is_none())
    }

    /// What a restart finds of a snapshot being received.
    pub fn staged(&self) -> Option<StagedSnapshot> {
        let Staging { meta, bytes } = self.staging.as_ref()?;
        let digest = StreamDigest::default().then(0, bytes);
        Some(StagedSnapshot { meta: meta.clone(), end: bytes.len() as u64, digest })
    }

    /// A chunk of the stream for `peer`: what it stands for, the bytes, whether they are the last.
    pub fn read(
        &mut self,
        peer: NodeId,
        offset: u64,
        max: u64,
        salt: u64,
    ) -> Option<(SnapshotMeta, Bytes, bool)> {
        if offset == 0 {
            self.open.insert(peer, (self.state.meta.clone(), self.state.stream(salt)));
        }
        let (meta, bytes) = self.open.get(&peer)?;
        let from = usize::try_from(offset).ok()?;
        if from > bytes.len() {
            return None;
        }
        let to = bytes.len().min(from.saturating_add(usize::try_from(max).unwrap_or(usize::MAX)));
        Some((meta.clone(), bytes.slice(from..to), to == bytes.len()))
    }
}
