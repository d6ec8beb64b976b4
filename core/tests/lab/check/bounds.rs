//! Everything is bounded: sizes of messages, work handed out, and how often the same is said.
//!
//! Rule: each limit of `Config` that shows outside is measured; and within one election timeout a
//! leader neither repeats an entry, an empty append nor a heartbeat to one peer without end (the
//! event-storm guard). Must never: be so wide that an answer to every answer fits in.

use super::{Check, Polled, Seen, View, facts::Facts};
use kvorum_core::raft::{Entry, Envelope, Index, Message, NodeId};
use std::collections::BTreeMap;

/// How often one entry may be sent to one peer within one election timeout.
const REPEATS: u64 = 30;

/// See the module.
#[derive(Default)]
pub struct Bounds {
    window: u64,
    /// Per link and window: empty appends, heartbeats, and appends by first index.
    said: BTreeMap<(NodeId, NodeId), Said>,
    /// Entries handed out for apply and not yet reported, per node.
    handed: BTreeMap<NodeId, BTreeMap<Index, u64>>,
}

#[derive(Default)]
struct Said {
    empty: BTreeMap<Index, u64>,
    /// By commit index and sequence number: something new may be said at once.
    heartbeats: BTreeMap<(Index, u64), u64>,
    appends: BTreeMap<Index, u64>,
}

fn bytes(entries: &[Entry]) -> u64 {
    entries.iter().map(Entry::size).sum()
}

impl Bounds {
    fn message(&mut self, view: &View, envelope: &Envelope) -> Result<(), String> {
        let (config, name) = (&view.plan.config, &view.node.name);
        let period = view.plan.election();
        if self.window != view.now / period {
            self.window = view.now / period;
            self.said.clear();
        }
        let beats = u64::try_from(
            config.election_timeout.as_nanos() / config.heartbeat_interval.as_nanos(),
        )
        .expect("small");
        let said = self.said.entry((envelope.from, envelope.to)).or_default();
        let often = match &envelope.message {
            Message::Append { prev, entries, .. } if !entries.is_empty() => {
                if entries.len() > config.max_append_entries.max(1)
                    || entries.len() > 1 && bytes(entries) > config.max_append_bytes
                {
                    return Err(format!(
                        "{name} appends {} entries of {} bytes",
                        entries.len(),
                        bytes(entries)
                    ));
                }
                let count = said.appends.entry(prev.index).or_default();
                *count += 1;
                *count > REPEATS
            }
            Message::Append { prev, .. } => {
                let count = said.empty.entry(prev.index).or_default();
                *count += 1;
                *count > 3 * beats + REPEATS
            }
            Message::Heartbeat { commit, sequence, .. } => {
                let count = said.heartbeats.entry((*commit, *sequence)).or_default();
                *count += 1;
                *count > 3 * beats + REPEATS
            }
            Message::InstallSnapshot { data, .. }
                if data.len() as u64 > config.snapshot_chunk_bytes =>
            {
                return Err(format!("{name} sends a chunk of {} bytes", data.len()));
            }
            _ => false,
        };
        if often {
            return Err(format!(
                "event storm: {name} repeats {} to {}",
                crate::trace::message(&envelope.message),
                view.name(envelope.to)
            ));
        }
        Ok(())
    }

    fn output(&mut self, view: &View, polled: &Polled) -> Result<(), String> {
        let (config, name) = (&view.plan.config, &view.node.name);
        let peers = polled.membership.members().count() + 2;
        let limit = 4 * (polled.handled + 1)
            + peers * (config.max_inflight_appends + 6)
            + view.node.reads.len();
        if polled.messages.len() > limit {
            return Err(format!(
                "{name} says {} things after {} inputs",
                polled.messages.len(),
                polled.handled
            ));
        }
        let handed = self.handed.entry(view.node.id).or_default();
        for entry in polled.committed {
            handed.insert(entry.id.index, entry.size());
        }
        let sum: u64 = handed.values().sum();
        if handed.len() > 1 && sum > config.max_apply_bytes {
            return Err(format!("{name} has {} entries of {sum} bytes handed out", handed.len()));
        }
        let log = &view.node.disk.shadow;
        if polled.glance.leads() {
            let open: u64 = log
                .entries
                .iter()
                .filter(|e| e.id.index > polled.glance.commit && e.id.term == polled.glance.term())
                .map(Entry::size)
                .sum();
            // One proposal always fits; the leader's own entries (no-op, configuration) as well.
            let slack = view.plan.burst * (view.plan.padding + 64) + 4_096;
            if open > config.max_uncommitted_bytes + slack {
                return Err(format!("{name} has {open} bytes uncommitted"));
            }
        }
        Ok(())
    }
}

impl Check for Bounds {
    fn rule(&self) -> &'static str {
        "bounds"
    }

    fn see(&mut self, view: &View, _facts: &Facts, seen: &Seen) -> Result<(), String> {
        match seen {
            Seen::Leaves { envelope } => self.message(view, envelope),
            Seen::Polled(polled) => self.output(view, polled),
            Seen::AppliedTold { index } => {
                if let Some(handed) = self.handed.get_mut(&view.node.id) {
                    *handed = handed.split_off(&index.next());
                }
                Ok(())
            }
            Seen::Down | Seen::Installed { .. } => {
                self.handed.remove(&view.node.id);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
