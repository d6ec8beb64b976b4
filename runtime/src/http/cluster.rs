//! `GET /cluster` and `POST /cluster/transfer`: who belongs together, and who leads.
//!
//! Rule: what a node says of the cluster is its own view, named as such by `Kvorum-Served-By`.
//! Must never: hand leadership over without the leader's consent.

use super::{
    Api, Reply,
    body::Payload,
    json::{self, Fault, string},
    params::Params,
    problem::{DUPLICATE_KEY, INVALID_JSON, INVALID_VALUE, Problem, TRANSFER_REFUSED},
    read::json as ok_json,
    seek::{Attempt, Call},
};
use crate::{
    handle::{MemberView, View},
    world::World,
};
use hyper::{HeaderMap, http::request::Parts};

/// What `POST /cluster/transfer` takes.
pub(super) const TRANSFER_PARAMETERS: [&str; 1] = ["timeout"];

impl<W: World> Api<W> {
    /// Answers `GET /cluster`.
    pub(super) fn get_cluster(&self, head: &Parts) -> Result<Reply, Problem> {
        Params::parse(head.uri.query(), &[])?;
        Ok(ok_json(cluster_json(&self.handle.view().get()), HeaderMap::new()))
    }

    /// Answers `POST /cluster/transfer`.
    pub(super) async fn transfer(
        &self,
        head: &Parts,
        payload: &mut Payload,
    ) -> Result<Reply, Problem> {
        let params = Params::parse(head.uri.query(), &TRANSFER_PARAMETERS)?;
        let timeout = self.timeout(&params)?;
        let body = payload.read(&self.world, &self.limits).await?;
        let to = successor(&body)?;
        let deadline = self.deadline(timeout);
        self.decide(&Call { head, body, deadline }, || self.hand_over(to.clone())).await
    }

    async fn hand_over(&self, to: Option<String>) -> Result<Attempt, Problem> {
        match self.handle.transfer(to).await {
            Ok(leader) => {
                let text = format!(
                    "{{\"message\":\"leadership handed over\",\"leader\":{}}}",
                    string(&leader)
                );
                Ok(Attempt::Done(ok_json(text, HeaderMap::new())))
            }
            Err(why) => Err(Problem::new(TRANSFER_REFUSED, why)),
        }
    }
}

/// `{"to":"app2"}`, `{}`, or nothing: to the best voter.
fn successor(body: &[u8]) -> Result<Option<String>, Problem> {
    const MAX_MEMBERS: usize = 8;
    if body.is_empty() {
        return Ok(None);
    }
    let invalid = |why: String| Problem::new(INVALID_JSON, "request is not a valid json").hint(why);
    let text = std::str::from_utf8(body).map_err(|error| invalid(error.to_string()))?;
    let members = json::members(text, MAX_MEMBERS).map_err(|fault| match fault {
        Fault::Duplicate(name) => {
            Problem::new(DUPLICATE_KEY, format!("member {name:?} is given twice"))
        }
        Fault::Invalid(why) => invalid(why),
        Fault::TooMany | Fault::TooDeep => invalid("too many members".to_owned()),
    })?;
    let mut to = None;
    for (name, value) in members {
        if name != "to" {
            let message = format!("unknown member {name:?}");
            return Err(Problem::new(INVALID_VALUE, message).hint("send {\"to\":\"<NODE_ID>\"}"));
        }
        let named: String = serde_json::from_str(value.get()).map_err(|_| {
            Problem::new(INVALID_VALUE, "member \"to\" is not a string")
                .hint("send {\"to\":\"<NODE_ID>\"}")
        })?;
        to = Some(named);
    }
    Ok(to)
}

/// One member as everybody sees it. `id` is the incarnation, in decimal.
pub(super) fn member_json(view: &MemberView) -> String {
    format!(
        "{{\"node_id\":{},\"id\":\"{}\",\"address\":{},\"http\":{},\"voter\":{}}}",
        string(&view.member.name),
        view.member.id.0,
        string(&view.member.raft_address),
        string(&view.member.http_address),
        view.voter
    )
}

/// The cluster's id in hexadecimal, or null.
pub(super) fn cluster_id_json(view: &View) -> String {
    view.cluster.map_or("null".to_owned(), |id| format!("\"{id:016x}\""))
}

/// The leader's name, or null.
pub(super) fn leader_json(view: &View) -> String {
    view.leader.as_ref().map_or("null".to_owned(), |leader| string(&leader.name))
}

fn cluster_json(view: &View) -> String {
    let members: Vec<String> = view.members.iter().map(member_json).collect();
    let voters = view.members.iter().filter(|one| one.voter).count();
    let quorum = voters / 2 + 1;
    let tolerated = voters.saturating_sub(quorum);
    let note = match voters {
        0 => String::new(),
        _ if voters % 2 == 0 => format!(
            "{voters} voters tolerate {tolerated} failures, the same as {} (quorum {quorum})",
            voters - 1
        ),
        _ => format!("{voters} voters tolerate {tolerated} failures (quorum {quorum})"),
    };
    format!(
        "{{\"cluster_id\":{},\"leader\":{},\"term\":{},\"voters\":{voters},\"quorum\":{},\
         \"tolerates\":{tolerated},\"note\":{},\"members\":[{}]}}",
        cluster_id_json(view),
        leader_json(view),
        view.term,
        if voters == 0 { 0 } else { quorum },
        string(&note.replace(" 1 failures", " 1 failure")),
        members.join(",")
    )
}
