//! The core's reasons as label values.
//!
//! Rule: a reason that the core learns must get a name here before it compiles. Must never: change a
//! name: dashboards depend on it.

use kvorum_core::raft::{Full, Ignored, Refusal, RoleName};

/// Why a message was ignored.
pub(super) fn ignored(reason: Ignored) -> &'static str {
    match reason {
        Ignored::WrongAddressee => "wrong_addressee",
        Ignored::StaleTerm => "stale_term",
        Ignored::Unsolicited => "unsolicited",
        Ignored::LeaderAlive => "leader_alive",
        Ignored::WrongRole => "wrong_role",
        Ignored::Nonsense => "nonsense",
        Ignored::Duplicate => "duplicate",
        Ignored::Busy => "busy",
        Ignored::Corrupt => "corrupt",
        Ignored::OtherStream => "other_stream",
        Ignored::OtherEpoch => "other_epoch",
    }
}

/// Why a request was refused.
pub(super) fn refused(reason: Refusal) -> &'static str {
    match reason {
        Refusal::NotLeader => "not_leader",
        Refusal::Overloaded(Full::UncommittedBytes) => "uncommitted_bytes",
        Refusal::Overloaded(Full::UncommittedEntries) => "uncommitted_entries",
        Refusal::Overloaded(Full::Apply) => "apply",
        Refusal::Overloaded(Full::Reads) => "reads",
        Refusal::Transferring => "transferring",
        Refusal::ChangePending => "change_pending",
        Refusal::StaleBase => "stale_base",
        Refusal::NotReady => "not_ready",
        Refusal::NotMember => "not_member",
        Refusal::NoVoters => "no_voters",
        Refusal::TooLarge => "too_large",
    }
}

/// All roles, with their names.
pub(super) const ROLES: [(RoleName, &str); 4] = [
    (RoleName::Follower, "follower"),
    (RoleName::PreCandidate, "pre_candidate"),
    (RoleName::Candidate, "candidate"),
    (RoleName::Leader, "leader"),
];
