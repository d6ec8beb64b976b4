//! The epoch of a cluster: which of its lives a node belongs to.
//!
//! Rule: every configuration carries the epoch, an ordinary change keeps it, and offline recovery
//! from a lost quorum raises it. A message carries its sender's, and whoever has one hears nothing
//! of another: members that slept through a recovery can neither vote, nor lead, nor be believed.
//! A blank node (epoch 0) hears everybody and takes the epoch over with its first configuration;
//! so nothing is ever sent to it from before the current epoch but a snapshot. Must never: change
//! by a message.

use super::{
    message::{Envelope, Message},
    raft::Raft,
    refused::Ignored,
    types::Payload,
};

/// The epoch of a node that belongs to no cluster yet.
const BLANK: u64 = 0;

impl Raft {
    /// The epoch this node belongs to; 0 when it is blank.
    pub(super) fn epoch(&self) -> u64 {
        self.log.membership().epoch
    }

    /// Why a message must not be heard, if it must not.
    pub(super) fn out_of_epoch(&self, envelope: &Envelope) -> Option<Ignored> {
        let ours = self.epoch();
        if ours != BLANK && envelope.epoch != BLANK && envelope.epoch != ours {
            return Some(Ignored::OtherEpoch);
        }
        let fits = |epoch: u64| epoch == envelope.epoch && (ours == BLANK || epoch == ours);
        let honest = match &envelope.message {
            Message::Append { entries, .. } => entries.iter().all(|entry| match &entry.payload {
                Payload::Membership(membership) => fits(membership.epoch),
                Payload::Command(_) | Payload::Noop => true,
            }),
            Message::InstallSnapshot { meta, .. } => fits(meta.membership.epoch),
            Message::PreVote { .. }
            | Message::PreVoteReply { .. }
            | Message::RequestVote { .. }
            | Message::VoteReply { .. }
            | Message::AppendReply { .. }
            | Message::Heartbeat { .. }
            | Message::HeartbeatReply { .. }
            | Message::SnapshotReply { .. }
            | Message::TimeoutNow
            | Message::ReadIndex { .. }
            | Message::ReadIndexReply { .. } => true,
        };
        (!honest).then_some(Ignored::Nonsense)
    }
}
