//! Proof that `Raft::canonical` loses nothing: a node that is put into canonical form after every
//! step says and does what one with its whole past does.

use crate::{
    node::{Input, Node},
    setup::{Budget, Setup},
};
use kvorum_core::raft::Envelope;
use std::collections::VecDeque;

/// A small generator for the walks.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// One of the inputs; messages mostly.
fn pick(dice: &mut Dice, setup: &Setup, node: &Node) -> Input<()> {
    let choices = [
        Input::Tick,
        Input::Beat,
        Input::Written,
        Input::Written,
        Input::Crash(0),
        Input::Crash(1),
        Input::Propose(0),
        Input::Transfer(1),
        Input::Checkpoint,
    ];
    let choice = choices.get(dice.below(4 * choices.len())).copied().unwrap_or(Input::Receive(()));
    if node.takes(setup, &choice) { choice } else { Input::Receive(()) }
}

#[test]
fn a_node_in_canonical_form_behaves_like_one_with_its_past() {
    let (mut leaders, mut messages) = (0, 0);
    for seed in 0..300u64 {
        let mut dice = Dice(seed);
        let setup = Setup {
            sync_at_once: seed % 2 == 0,
            resends: seed % 3 == 0,
            budget: Budget::default(),
            ..Setup::three_voters("alike")
        };
        let first = || setup.ids().map(|id| Node::first(&setup, id)).collect::<Vec<_>>();
        let (mut real, mut canonical) = (first(), first());
        let mut network: VecDeque<Envelope> = VecDeque::new();
        for step in 0..150 {
            let mut at = dice.below(real.len());
            let input = pick(&mut dice, &setup, &real[at]);
            let envelope = match input {
                Input::Receive(()) => network.swap_remove_back(dice.below(network.len().max(1))),
                _ => None,
            };
            let input = match &envelope {
                Some(envelope) => {
                    at = usize::try_from(envelope.to.0 - 1).expect("a node");
                    messages += 1;
                    Input::Receive(envelope)
                }
                None if input == Input::Receive(()) => Input::Tick,
                None => input.map(|()| unreachable!("no message")),
            };
            let effects = real[at].act(&setup, &input);
            let (next, same) = canonical[at].fork().step(&setup, &input);
            canonical[at] = next;
            assert_eq!(effects, same, "seed {seed}, step {step}: {input:?} of {}", real[at].raft);
            assert_eq!(
                real[at].fork().settled(),
                canonical[at],
                "seed {seed}, step {step}: {input:?} of {}",
                real[at].raft
            );
            leaders += usize::from(real[at].raft.peers().next().is_some());
            network.extend(effects.sent);
            network.truncate(12);
        }
    }
    assert!(leaders > 1_000 && messages > 5_000, "the walks led somewhere: {leaders}, {messages}");
}
