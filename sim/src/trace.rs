//! Everything the nodes say, as lines with a hash over all of them.
//!
//! Rule: every event of our crates becomes one line `time node level target message fields`, and is
//! folded into the hash in order; a run is the same run exactly when the hash is. The invariants
//! among nodes are judged as the lines come. Must never: hold anything that differs between two
//! runs of a seed (task and thread ids, addresses of memory, paths with the process' number).

use crate::check::{Violation, invariants::Invariants};
use madsim::task::NodeId;
use std::{
    collections::{BTreeMap, VecDeque},
    fmt::{Debug, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// What is kept of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The last ones.
    Last(usize),
    /// All.
    All,
    /// All, and they are printed as they come.
    Print,
}

/// A recorder. Cheap to clone.
#[derive(Clone)]
pub struct Trace {
    state: Arc<Mutex<State>>,
}

struct State {
    recording: bool,
    keep: Keep,
    /// Replaced in every line, because it differs between runs.
    scrub: String,
    names: BTreeMap<NodeId, String>,
    hash: u64,
    count: u64,
    lines: VecDeque<String>,
    invariants: Invariants,
    violations: Vec<Violation>,
    /// The last node that became leader, with its term.
    leader: Option<(String, u64)>,
    /// How often the nodes said each thing, for coverage.
    said: BTreeMap<String, u64>,
}

/// FNV-1a's parameters for 64 bits.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;
/// Only events of these crates are recorded.
const OURS: &str = "kvorum";
/// What the nodes themselves say.
const RUNTIME: &str = "kvorum_runtime";

impl Trace {
    /// A recorder for one simulation; `scrub` is cut out of every line.
    #[must_use]
    pub fn new(keep: Keep, scrub: &str) -> Trace {
        Trace {
            state: Arc::new(Mutex::new(State {
                recording: true,
                keep,
                scrub: scrub.to_owned(),
                names: BTreeMap::new(),
                hash: FNV_OFFSET,
                count: 0,
                lines: VecDeque::new(),
                invariants: Invariants::default(),
                violations: Vec::new(),
                leader: None,
                said: BTreeMap::new(),
            })),
        }
    }

    /// Records what is said on this thread while the guard lives.
    #[must_use]
    pub fn start(&self) -> tracing::subscriber::DefaultGuard {
        tracing::subscriber::set_default(self.clone())
    }

    /// Ends the recording: what is torn down afterwards says nothing of interest.
    pub fn stop(&self) {
        self.lock().recording = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a node its name.
    pub fn name(&self, node: NodeId, name: &str) {
        self.lock().names.insert(node, name.to_owned());
    }

    /// The hash over all lines so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.lock().hash
    }

    /// How many lines so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.lock().count
    }

    /// The lines that were kept.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.iter().cloned().collect()
    }

    /// What the invariants objected to.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.lock().violations.clone()
    }

    /// The node that became leader last, and its term.
    #[must_use]
    pub fn leader(&self) -> Option<(String, u64)> {
        self.lock().leader.clone()
    }

    /// What was judged.
    #[must_use]
    pub fn invariants(&self) -> Invariants {
        self.lock().invariants.clone()
    }

    /// How often the nodes said each thing.
    #[must_use]
    pub fn said(&self) -> BTreeMap<String, u64> {
        self.lock().said.clone()
    }
}

impl Subscriber for Trace {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && metadata.target().starts_with(OURS)
            && *metadata.level() <= Level::TRACE
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut state = self.lock();
        if !state.recording || madsim::runtime::Handle::try_current().is_err() {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let at = madsim::time::TimeHandle::current().elapsed();
        let node = state.names.get(&madsim::plugin::node()).cloned().unwrap_or_default();
        let metadata = event.metadata();
        let mut line = format!(
            "{:>6}.{:06} {node:<6} {:<5} {} {}{}",
            at.as_secs(),
            at.subsec_micros(),
            metadata.level(),
            metadata.target().trim_start_matches("kvorum_"),
            fields.message,
            fields.rest,
        );
        if !state.scrub.is_empty() && line.contains(&state.scrub) {
            line = line.replace(&state.scrub, "");
        }
        state.judge(&node, metadata.target(), &fields);
        if metadata.target().starts_with(RUNTIME) {
            *state.said.entry(fields.message).or_default() += 1;
        }
        state.note(line, at.subsec_nanos());
    }
}

impl State {
    fn judge(&mut self, node: &str, target: &str, fields: &Fields) {
        if !target.starts_with(RUNTIME) {
            return;
        }
        let number = |name| fields.named.get(name).and_then(|text| text.parse::<u64>().ok());
        let verdict = match fields.message.as_str() {
            "role changed" if fields.named.get("role").is_some_and(|role| role == "Leader") => {
                let Some(term) = number("term") else { return };
                self.leader = Some((node.to_owned(), term));
                self.invariants.leads(node, term)
            }
            "applied" => {
                let Some((index, digest)) = number("index").zip(fields.named.get("digest")) else {
                    return;
                };
                self.invariants.applied(node, index, digest)
            }
            _ => return,
        };
        self.violations.extend(verdict.err());
    }

    fn note(&mut self, line: String, nanos: u32) {
        for byte in line.bytes().chain(nanos.to_le_bytes()) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
        self.count += 1;
        match self.keep {
            Keep::Last(most) => {
                if self.lines.len() >= most {
                    self.lines.pop_front();
                }
            }
            Keep::All => {}
            Keep::Print => println!("{line}"),
        }
        self.lines.push_back(line);
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
    named: BTreeMap<&'static str, String>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        self.take(field.name(), text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field.name(), value.to_owned());
    }
}

impl Fields {
    fn take(&mut self, name: &'static str, text: String) {
        if name == "message" {
            self.message = text;
            return;
        }
        let _ = write!(self.rest, " {name}={text}");
        self.named.insert(name, text);
    }
}
