//! Handing committed entries to the state machine.
//!
//! Rule: in order, each once, only what is both committed and on this node's own disk (so that the
//! state never runs ahead of the log), and only so much that `Config::max_apply_bytes` are out.
//! Must never: hand out anything while a snapshot replaces the state.

use super::{
    chain::Chain,
    output::{LogRead, LogReader},
    raft::Raft,
    refused::Evidence,
    types::{Entry, Index, Instant},
};
use alloc::{collections::VecDeque, vec::Vec};

/// Room made at once for entries to hand out; more are few enough to grow for.
const MAX_RESERVED: usize = 1024;

/// What the state machine has and has been given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Apply {
    /// Applied up to here.
    pub applied: Index,
    /// Handed out up to here.
    pub handed: Index,
    /// Last index and bytes of each hand-out not yet applied. Bounded by the bytes.
    batches: VecDeque<(Index, u64)>,
    bytes: u64,
    /// While something is handed out: when it was, or when the state machine last came on.
    since: Instant,
    /// Cold entries read for it. At most one log read.
    fetched: VecDeque<Entry>,
    fetching: bool,
    /// The last entry that came and went through `fetched`, with its chain.
    passed: Option<(Index, Chain)>,
}

impl Apply {
    /// A state machine that has applied up to `applied`.
    pub fn new(applied: Index) -> Apply {
        Apply {
            applied,
            handed: applied,
            batches: VecDeque::new(),
            bytes: 0,
            since: Instant::default(),
            fetched: VecDeque::new(),
            fetching: false,
            passed: None,
        }
    }

    /// Hand-outs not yet applied.
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// When the state machine last came on, while it has something to do.
    pub fn busy_since(&self) -> Option<Instant> {
        (!self.batches.is_empty()).then_some(self.since)
    }

    /// The moment it keeps, as far as it matters.
    pub fn moment(&mut self) -> Option<&mut Instant> {
        (!self.batches.is_empty()).then_some(&mut self.since)
    }

    /// Bytes handed out and not yet applied.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Raft {
    /// The state machine has applied everything up to `index`.
    pub(super) fn applied(&mut self, index: Index, digests: &[u64]) {
        let apply = &mut self.apply;
        if index <= apply.applied {
            return;
        }
        assert!(index <= apply.handed, "only what was handed out can be applied");
        let news = index.distance(apply.applied);
        assert!(digests.len() as u64 <= news, "a digest belongs to an entry just applied");
        apply.applied = index;
        apply.since = self.now;
        while let Some(&(last, bytes)) = apply.batches.front() {
            if last > index {
                break;
            }
            apply.batches.pop_front();
            apply.bytes -= bytes;
        }
        if apply.batches.is_empty() {
            apply.since = Instant::default();
        }
        self.digests_applied(index, digests);
    }

    /// The next entries to apply.
    pub(super) fn hand_out(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        if self.is_installing() {
            return entries;
        }
        let limit = self.commit.min(self.log.written());
        let apply = &mut self.apply;
        let expected = usize::try_from(limit.distance(apply.handed)).unwrap_or(usize::MAX);
        entries.reserve(expected.min(MAX_RESERVED));
        let mut bytes = 0;
        while apply.handed < limit {
            let next = apply.handed.next();
            while let Some(entry) = apply.fetched.pop_front_if(|entry| entry.index() < next) {
                apply.passed = Some((entry.index(), entry.chain));
            }
            let fetched = apply.fetched.front().filter(|entry| entry.index() == next);
            let Some(entry) = self.log.tail().get(next).or(fetched) else { break };
            let size = entry.size();
            let outstanding = apply.bytes + bytes;
            if outstanding > 0 && outstanding + size > self.config.max_apply_bytes {
                break;
            }
            bytes += size;
            entries.push(entry.clone());
            apply.handed = next;
        }
        if let Some(last) = entries.last() {
            if apply.batches.is_empty() {
                apply.since = self.now;
            }
            apply.batches.push_back((last.index(), bytes));
            apply.bytes += bytes;
        }
        self.read_cold_for_apply(limit);
        entries
    }

    /// Whether the state machine has not come on for an election time-out though it has something
    /// to do.
    pub(super) fn is_apply_stalled(&self) -> bool {
        let timeout = self.config.election_timeout;
        self.apply.busy_since().is_some_and(|since| self.now.since(since) >= timeout)
    }

    /// Wishes for the next entries when they are no longer cached.
    fn read_cold_for_apply(&mut self, limit: Index) {
        let next = self.apply.handed.next();
        let cold_end = self.log.cached_from().min(limit.next());
        let room = self.apply.bytes < self.config.max_apply_bytes;
        let have = self.apply.fetched.front().is_some_and(|entry| entry.index() == next);
        if next >= cold_end || !room || have || self.apply.fetching {
            return;
        }
        let after = self.log.id_at(self.apply.handed);
        let chain = self.chain_of_handed();
        self.apply.fetching = true;
        self.log_reads.push(LogRead {
            reader: LogReader::Apply,
            range: next..cold_end,
            max_bytes: self.config.max_append_bytes,
            after: after.expect("what was handed out is in the log or is its base"),
            chain,
        });
    }

    /// The chain of the last entry handed out, where it is known.
    fn chain_of_handed(&self) -> Option<Chain> {
        let Apply { handed, fetched, passed, .. } = &self.apply;
        let read = fetched.front().map(|entry| (entry.index(), entry.chain));
        let read = [read, *passed].into_iter().flatten().find(|read| read.0 == *handed);
        self.log.chain_at(*handed).or(read.map(|read| read.1))
    }

    /// The disk answered a wish for cold entries.
    pub(super) fn log_read(&mut self, request: LogRead, entries: Vec<Entry>) {
        let valid = self.still_true(&request, entries);
        if let Err(evidence) = self.check_read(request.chain, &valid) {
            return self.halt(evidence);
        }
        match request.reader {
            LogReader::Apply => {
                assert!(self.apply.fetching, "a log read has one answer");
                self.apply.fetching = false;
                if request.range.start == self.apply.handed.next() && !self.is_installing() {
                    assert!(
                        !valid.is_empty() || request.range.start <= self.log.base().index,
                        "committed entries that the log holds can be read back"
                    );
                    self.apply.fetched = valid;
                }
            }
            LogReader::Peer(peer) => self.fetched_for_peer(peer, request.range.start, valid),
        }
    }

    /// The entries of an answer that are still what the log holds: a truncation or compaction in
    /// between is seen by the terms.
    fn still_true(&self, request: &LogRead, entries: Vec<Entry>) -> VecDeque<Entry> {
        if !self.log.contains(request.after) {
            return VecDeque::new();
        }
        let indexes = request.range.start.0..request.range.end.0;
        entries
            .into_iter()
            .zip(indexes)
            .take_while(|(entry, index)| {
                entry.id.index == Index(*index) && self.log.contains(entry.id)
            })
            .map(|(entry, _)| entry)
            .collect()
    }

    /// What the disk returned must be what was written: each entry follows from the one before it,
    /// and is the one the log knows wherever it knows one, up to where the cache begins.
    fn check_read(&self, after: Option<Chain>, entries: &VecDeque<Entry>) -> Result<(), Evidence> {
        let mut parent = after;
        for entry in entries {
            let made = parent.map(|parent| parent.then(entry.id, &entry.payload));
            let known = self.log.chain_at(entry.index());
            for expected in [made, known].into_iter().flatten() {
                if expected != entry.chain {
                    let (at, found) = (entry.id, entry.chain);
                    return Err(Evidence::DiskChanged { at, expected, found });
                }
            }
            parent = Some(entry.chain);
        }
        let last = entries.back().map(|last| (last, self.log.tail().get(last.index().next())));
        match last {
            Some((last, Some(next))) if !next.follows(last.chain) => {
                let expected = last.chain.then(next.id, &next.payload);
                Err(Evidence::DiskChanged { at: next.id, expected, found: next.chain })
            }
            _ => Ok(()),
        }
    }

    /// A snapshot up to `index` has replaced the state.
    pub(super) fn state_replaced(&mut self, index: Index) {
        self.digests.replaced(index);
        self.apply = Apply { fetching: self.apply.fetching, ..Apply::new(index) };
    }
}
