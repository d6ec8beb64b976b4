//! **Replay**: the same `(Restored, seed, inputs)` give the same outputs and the same node.
//!
//! Observed: every life of every node is written down: what it was restored from, each input with
//! its time, each poll with what came of it. When the life ends, it is lived again, and every
//! answer, every output and the node itself must be equal.
//!
//! Would break it: a clock, a random number that is not of the seed, an order of iteration that
//! depends on addresses, a static.

use crate::cluster::{Cover, Run, Terms, Verdict, execute};
use crate::draw::{Mix, arbitrary};
use crate::law::Law;
use crate::node::Input;
use crate::planted::Planted;
use crate::schedule::MAX_NODES;
use crate::watch::{Birth, Taken, Watch};
use kvorum_core::raft::{
    Changed, Entry, Envelope, Instant, LogRead, Output, Raft, ReadReady, SnapshotRequest, Write,
};

/// An output, to keep.
#[derive(Debug, PartialEq)]
struct Said {
    write: Option<Write>,
    messages: Vec<Envelope>,
    committed: Vec<Entry>,
    reads: Vec<ReadReady>,
    log_reads: Vec<LogRead>,
    snapshots: Vec<SnapshotRequest>,
    changed: Option<Changed>,
    fatal: Option<String>,
}

impl Said {
    fn of(raft: &Raft, output: &Output) -> Said {
        Said {
            write: raft.fork(&output.write).1.pop(),
            messages: output.messages.clone(),
            committed: output.committed.clone(),
            reads: output.reads.clone(),
            log_reads: output.log_reads.clone(),
            snapshots: output.snapshots.clone(),
            changed: output.changed,
            fatal: output.fatal.as_ref().map(ToString::to_string),
        }
    }
}

enum Done {
    Input(Instant, Box<Input>),
    Poll(Instant, Box<Said>),
}

#[derive(Default)]
struct Life {
    birth: Option<Birth>,
    done: Vec<Done>,
}

struct Recorder {
    lives: [Life; MAX_NODES],
    planted: Option<Planted>,
    lived: u64,
}

impl Watch for Recorder {
    fn rule(&self) -> &'static str {
        "replay"
    }

    fn born(&mut self, slot: usize, birth: &Birth) {
        self.lives[slot] = Life { birth: Some(birth.clone()), done: Vec::new() };
    }

    fn before(&mut self, slot: usize, _: &Raft, now: Instant, input: &Input) -> Result<(), String> {
        self.lives[slot].done.push(Done::Input(now, Box::new(input.clone())));
        Ok(())
    }

    fn polled(&mut self, taken: &Taken) -> Result<(), String> {
        let said = Box::new(Said::of(taken.raft, taken.output));
        self.lives[taken.slot].done.push(Done::Poll(taken.now, said));
        Ok(())
    }

    fn ended(&mut self, slot: usize, raft: &Raft) -> Result<(), String> {
        let Life { birth, done } = std::mem::take(&mut self.lives[slot]);
        let birth = birth.expect("who ends was born");
        let mut again = birth.raft().expect("it could be restored before");
        for done in done {
            match done {
                Done::Input(now, input) => {
                    input.feed(&mut again, now);
                }
                Done::Poll(now, said) => {
                    let mut output = again.poll(now);
                    if self.planted == Some(Planted::OtherOrder) {
                        output.messages.reverse();
                    }
                    let second = Said::of(&again, &output);
                    let _ = again.poll(now);
                    if second != *said {
                        return Err(format!("first {said:?}, then {second:?}"));
                    }
                }
            }
        }
        self.lived += 1;
        if again == *raft { Ok(()) } else { Err(format!("first {raft}, then {again}")) }
    }
}

static LAW: Law = Law {
    name: "replay",
    draw: |g| arbitrary(g, &Mix::EVEN),
    holds,
    must_happen: &["life lived twice", "leader elected", "read confirmed", "log compacted"],
};

fn holds(schedule: &crate::schedule::Schedule, planted: Option<Planted>, run: &mut Run) -> Verdict {
    let mut recorder = Recorder { lives: Default::default(), planted, lived: 0 };
    let terms = Terms { batched: true, planted, ..Terms::default() };
    execute(schedule, terms, &mut recorder, run)?;
    let cover: &mut Cover = &mut run.cover;
    *cover.entry("life lived twice").or_default() += recorder.lived;
    Ok(())
}

#[test]
fn replay() {
    LAW.holds();
}

#[test]
fn replay_bites() {
    LAW.finds(Planted::OtherOrder, &["replay"], 2);
}
