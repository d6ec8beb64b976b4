//! Who is there at the start: founders with a common log, spares that are blank, each with an id.
//!
//! Rule: ids are drawn once and never again; 0 and the highest number are ids like any other. Must
//! never: start anything.

use crate::disk::{Disk, Image};
use crate::lab::Lab;
use crate::machine::{Machine, State};
use crate::node::{Clock, Node, nothing_seen};
use crate::plan::MAX_SLOTS;
use crate::rng::{Purpose, Rng};
use bytes::Bytes;
use kvorum_core::raft::{Membership, NodeId, Restored, SnapshotMeta};
use std::collections::{BTreeMap, VecDeque};

impl Lab {
    pub fn populate(&mut self) {
        let slots = (self.plan.voters + self.plan.spares).min(MAX_SLOTS);
        for slot in 0..slots {
            let node = self.fresh(slot, 0);
            self.nodes.push(node);
        }
        let founders = if self.plan.grow { 1 } else { self.plan.voters };
        let context = |slot: usize| Bytes::from(format!("m{slot}"));
        let founding: Vec<NodeId> = self.nodes.iter().take(founders).map(|node| node.id).collect();
        let mut membership = Restored::bootstrap(founding[0], context(0)).base.membership;
        membership.voters.extend(&founding);
        membership
            .contexts
            .extend(founding.iter().enumerate().map(|(slot, id)| (*id, context(slot))));
        for slot in 0..founders {
            self.found(slot, &membership);
        }
        self.checks.facts.membership = membership;
    }

    fn found(&mut self, slot: usize, membership: &Membership) {
        let base = SnapshotMeta { membership: membership.clone(), ..SnapshotMeta::default() };
        let node = &mut self.nodes[slot];
        node.machine = Machine::starting(State { meta: base.clone(), ..State::default() });
        node.disk = Disk::holding(Image { base, ..Image::default() });
    }

    /// A blank incarnation for `slot`.
    pub fn fresh(&mut self, slot: usize, incarnation: u64) -> Node {
        let seed = self.plan.seed;
        let mut id = NodeId(self.identity.next());
        // Ordinary ids like any other: the lowest, the highest, and small ones.
        if incarnation == 0 && seed.is_multiple_of(2) {
            id = NodeId(match (slot as u64 + seed / 2) % 7 {
                0 => 0,
                1 => u64::MAX,
                n => n,
            });
        }
        assert!(!self.directory.contains_key(&id), "an id is drawn once");
        let name =
            if incarnation == 0 { format!("n{slot}") } else { format!("n{slot}'{incarnation}") };
        self.names.insert(id, name.clone());
        self.directory.insert(id, slot);
        let mut rng = Rng::stream(seed, Purpose::Node, slot as u64, incarnation);
        let skew = self.plan.skew;
        let clock = Clock {
            offset: rng.pick(&[0, 1 << 20, 1 << 50, 1 << 62]),
            rate: rng.between(1_000 - skew, 1_000 + skew),
        };
        Node {
            slot,
            id,
            name,
            life: 0,
            incarnation,
            raft: None,
            disk: Disk::default(),
            machine: Machine::default(),
            clock,
            glance: nothing_seen(id),
            inbox: VecDeque::new(),
            awake: false,
            paused_until: 0,
            armed: None,
            disk_busy_until: 0,
            receipt_at: 0,
            syncing: 0,
            disk_stalled: false,
            machine_busy: false,
            reads: BTreeMap::new(),
            led_throughout: false,
            rng,
        }
    }
}
