//! Offline recovery from a lost quorum, as an operator would do it with the disks that are left.

use crate::{
    notation::{Words, node_id},
    world::World,
};
use kvorum_core::raft::{
    Membership,
    recovery::{Recovery, Survivor, recover},
};

impl World {
    /// `recover n1 n2 as=n9`: n9 gets what goes on of the disks of n1 and n2.
    pub fn recover(&mut self, words: &Words) {
        let new = node_id(words.option("as").expect("as=n9"));
        let survivors: Vec<Survivor> = words
            .nodes(1)
            .into_iter()
            .map(|id| Survivor::of(id, 1, &self.node(id).disk.restored(usize::MAX)))
            .collect();
        match recover(&survivors, new) {
            Ok(recovery) => self.go_on_as(recovery),
            Err(why) => self.tell(format_args!("no recovery: {why:?}")),
        }
    }

    fn go_on_as(&mut self, recovery: Recovery) {
        let Recovery { from, id, vote, entry, report } = recovery;
        self.tell(format_args!("{id} goes on from {from}: {vote} append {entry}"));
        self.tell(format_args!("{report}"));
        let mut disk = self.node(from).disk.clone();
        disk.vote = vote;
        self.chains.insert(entry.id, entry.chain);
        disk.log.push(entry);
        self.add(id, Membership::default());
        self.node(id).disk = disk;
    }
}
