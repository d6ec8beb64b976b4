//! How a run is told: the steps in order, messages in the arrow notation, the node after each.
//!
//! Rule: a story is replayed from its actions with the shipped code, so it shows what happens. Must
//! never: be longer than the shortest path to where it ends.

use crate::{
    node::Input,
    world::{Action, State, World},
};
use stateright::Model;
use std::fmt::Write as _;

/// The run of `actions` from the beginning.
pub fn tell(world: &World, actions: &[Action]) -> String {
    let mut story = String::new();
    let mut state = world.init_states().remove(0);
    for &action in actions {
        let Some(next) = world.next_state(&state, action) else { break };
        step(world, action, &next, &mut story);
        state = next;
    }
    if let Some((rule, what)) = &state.broken {
        let _ = writeln!(story, "✗ {rule:?}: {what}");
    }
    story
}

fn step(world: &World, action: Action, next: &State, story: &mut String) {
    let all = world.tables.lock().expect("one thread");
    let envelope = |message: u32| all.tables.envelopes.get(message).to_string();
    let (position, what) = match action {
        Action::Copy(position, message) => {
            (position, format!("{} (a copy is still under way)", envelope(message)))
        }
        Action::Step(position, input) => {
            let id = position + 1;
            let what = match input {
                Input::Receive(message) => envelope(message),
                Input::Tick => format!("n{id} ⏲ an election time-out"),
                Input::Beat => format!("n{id} ⏲ a heartbeat"),
                Input::Written => format!("n{id} ⇒ the oldest write is on the disk"),
                Input::Crash(kept) => format!("n{id} ⚡ a crash, {kept} writes under way kept"),
                Input::Propose(number) => {
                    format!("n{id} ← a client: {}", char::from(b'a' + number))
                }
                Input::Change(number) => {
                    let change = &world.setup.changes[usize::from(number)];
                    format!("n{id} ← an operator: {change:?}")
                }
                Input::Transfer(to) => format!("n{id} ← an operator: hand over to n{to}"),
                Input::Checkpoint => format!("n{id} ⇒ the state is durable"),
                Input::Poll => format!("n{id} is asked what is to be done"),
            };
            (position, what)
        }
    };
    let node = all.tables.nodes.get(next.nodes[usize::from(position)]);
    let _ = writeln!(story, "{what}\n    {}", node.raft);
}
