//! `/cluster/members/{name}`: removing, promoting and demoting a member.
//!
//! Rule: brought to the leader like a write; the answer comes once the change is committed. Must
//! never: let anything bypass the judgement whether a quorum is left.

use super::{
    Api, Reply,
    json::string,
    key::percent_decode,
    params::Params,
    problem::{
        BAD_PERCENT_ENCODING, INVALID_FENCE, INVALID_PARAMETER, MEMBERSHIP_BUSY, NOT_CAUGHT_UP,
        OUTCOME_UNKNOWN, OVERWRITTEN, Problem, STOPPING, UNKNOWN_MEMBER, WOULD_LOSE_QUORUM,
    },
    read::json as ok_json,
    seek::{Attempt, Call, no_leader},
};
use crate::{
    handle::{MemberChange, MemberError},
    world::World,
};
use bytes::Bytes;
use hyper::{HeaderMap, header::HeaderName, http::request::Parts};

/// What promoting and demoting take.
pub(super) const PARAMETERS: [&str; 1] = ["timeout"];
/// What removing takes.
pub(super) const REMOVE_PARAMETERS: [&str; 2] = ["timeout", "force"];
/// A membership is no key: a fence around it would be a promise that is not kept.
const FENCE: HeaderName = HeaderName::from_static("kvorum-fence");

impl<W: World> Api<W> {
    /// Answers `DELETE /cluster/members/{name}` and the `POST`s below it.
    pub(super) async fn change_member(
        &self,
        head: &Parts,
        name: &str,
        change: MemberChange,
    ) -> Result<Reply, Problem> {
        let known: &[&str] = match change {
            MemberChange::Remove => &REMOVE_PARAMETERS,
            MemberChange::Promote | MemberChange::Demote => &PARAMETERS,
        };
        let params = Params::parse(head.uri.query(), known)?;
        if params.flag("force")? {
            let message = "a member cannot be removed by force";
            return Err(Problem::new(INVALID_PARAMETER, message).hint(
                "force would drop acknowledged writes or leave two clusters; bring the missing \
                 voters back, then remove the member without it",
            ));
        }
        if head.headers.contains_key(FENCE) {
            let message = "a lock cannot guard the membership";
            return Err(Problem::new(INVALID_FENCE, message).hint("leave Kvorum-Fence out"));
        }
        let name = percent_decode(name).and_then(|name| String::from_utf8(name).ok());
        let Some(name) = name else {
            return Err(Problem::new(BAD_PERCENT_ENCODING, "the member's name cannot be decoded"));
        };
        let deadline = self.deadline(self.timeout(&params)?);
        let call = Call { head, body: Bytes::new(), deadline };
        self.decide(&call, || self.ask_for_change(&name, change)).await
    }

    async fn ask_for_change(&self, name: &str, change: MemberChange) -> Result<Attempt, Problem> {
        let (kind, message) = match self.handle.change_member(name.to_owned(), change).await {
            Ok(changed) => return Ok(Attempt::Done(told(name, change, changed))),
            Err(MemberError::NotLeader) => {
                return Ok(Attempt::Again(no_leader(&self.handle.view().get())));
            }
            Err(MemberError::Busy) => {
                let message = "another membership change is under way";
                return Ok(Attempt::Again(Problem::new(MEMBERSHIP_BUSY, message)));
            }
            Err(MemberError::HandingOver) => {
                let message = format!("{name} leads, and is handing leadership over first");
                return Ok(Attempt::Again(Problem::new(MEMBERSHIP_BUSY, message)));
            }
            Err(MemberError::Lost) => {
                let message = "another leader's entry took the change's place";
                return Ok(Attempt::Again(Problem::new(OVERWRITTEN, message)));
            }
            Err(MemberError::Unknown) => (UNKNOWN_MEMBER, format!("no member is named {name:?}")),
            Err(MemberError::WouldLoseQuorum(why)) => {
                (WOULD_LOSE_QUORUM, format!("without {name} as a voter there is no quorum: {why}"))
            }
            Err(MemberError::NotCaughtUp { answers: false, .. }) => {
                (NOT_CAUGHT_UP, format!("{name} does not answer the leader"))
            }
            Err(MemberError::NotCaughtUp { lag, .. }) => {
                (NOT_CAUGHT_UP, format!("{name} still lacks {lag} entries"))
            }
            Err(MemberError::Stopping) => (STOPPING, "the node is stopping".to_owned()),
            Err(MemberError::OutcomeUnknown) => (
                OUTCOME_UNKNOWN,
                "the change was proposed, but its outcome cannot be learnt here any more"
                    .to_owned(),
            ),
        };
        let problem = Problem::new(kind, message);
        Err(match kind {
            OUTCOME_UNKNOWN => problem.hint("look at GET /cluster before asking again"),
            _ => problem,
        })
    }
}

fn told(name: &str, change: MemberChange, changed: bool) -> Reply {
    let message = match (change, changed) {
        (MemberChange::Remove, _) => "member removed",
        (MemberChange::Promote, true) => "member promoted",
        (MemberChange::Promote, false) => "member is a voter already",
        (MemberChange::Demote, true) => "member demoted",
        (MemberChange::Demote, false) => "member is a learner already",
    };
    let text = format!("{{\"message\":\"{message}\",\"name\":{}}}", string(name));
    ok_json(text, HeaderMap::new())
}
