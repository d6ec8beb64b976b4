//! `POST /join`: taking a node into the cluster.
//!
//! Rule: joining is idempotent, and the answer separates "not now" (503) from "not like this" (4xx),
//! since the joiner repeats the one and gives up at the other. Must never: take a node in without
//! the identity of its incarnation.

use super::{
    Api, Reply,
    body::Payload,
    cluster::member_json,
    json::{self, Fault},
    params::Params,
    problem::{
        ADDRESS_UNREACHABLE, DUPLICATE_KEY, DUPLICATE_NODE_ID, EMPTY_BODY, INVALID_JOIN,
        INVALID_JSON, JOIN_BUSY, Problem, STOPPING,
    },
    read::json as ok_json,
    seek::{Attempt, Call, no_leader},
};
use crate::{
    handle::{JoinError, Joined, Member},
    world::World,
};
use hyper::{HeaderMap, http::request::Parts};
use kvorum_core::raft::NodeId;

/// What `POST /join` takes.
pub(super) const PARAMETERS: [&str; 1] = ["timeout"];

/// Members a join may have; more than any version sends.
const MAX_MEMBERS: usize = 64;
/// Bytes of a name or an address.
const MAX_TEXT: usize = 255;

impl<W: World> Api<W> {
    /// Answers `POST /join`.
    pub(super) async fn join(&self, head: &Parts, payload: &mut Payload) -> Result<Reply, Problem> {
        let params = Params::parse(head.uri.query(), &PARAMETERS)?;
        let timeout = self.timeout(&params)?;
        let body = payload.read(&self.world, &self.limits).await?;
        let joiner = joiner(&body)?;
        let deadline = self.deadline(timeout);
        self.decide(&Call { head, body, deadline }, || self.take_in(&joiner)).await
    }

    async fn take_in(&self, joiner: &Member) -> Result<Attempt, Problem> {
        match self.handle.join(joiner.clone()).await {
            Ok(joined) => Ok(Attempt::Done(welcome(&joined))),
            Err(JoinError::NotLeader) => Ok(Attempt::Again(no_leader(&self.handle.view().get()))),
            Err(JoinError::Busy) => Ok(Attempt::Again(Problem::new(
                JOIN_BUSY,
                "another membership change is under way, or the leader has just been elected",
            ))),
            Err(JoinError::HolderSilent { holder }) => Ok(Attempt::Again(Problem::new(
                JOIN_BUSY,
                format!(
                    "NODE_ID \"{}\" belongs to a node at {holder} that does not answer; it keeps \
                     the name until it has been silent for some time",
                    joiner.name
                ),
            ))),
            Err(JoinError::Stopping) => {
                Ok(Attempt::Again(Problem::new(STOPPING, "the node is stopping")))
            }
            Err(JoinError::DuplicateName { holder }) => Err(Problem::new(
                DUPLICATE_NODE_ID,
                format!(
                    "NODE_ID \"{}\" is already used by a live node at {holder} (the joiner is at \
                     {}). Choose another NODE_ID.",
                    joiner.name, joiner.raft_address
                ),
            )
            .member("holder", json::string(&holder))),
            Err(JoinError::Unreachable(found)) => Err(Problem::new(
                ADDRESS_UNREACHABLE,
                format!(
                    "the Raft address {} of {} does not lead to it: {found}",
                    joiner.raft_address, joiner.name
                ),
            )),
        }
    }
}

fn welcome(joined: &Joined) -> Reply {
    let members: Vec<String> = joined.members.iter().map(member_json).collect();
    let text = format!(
        "{{\"message\":\"Added node to cluster\",\"cluster_id\":\"{:016x}\",\"members\":[{}]}}",
        joined.cluster,
        members.join(",")
    );
    ok_json(text, HeaderMap::new())
}

/// Reads `{"node_id","address","http","id"}`; further members are for later versions.
fn joiner(body: &[u8]) -> Result<Member, Problem> {
    if body.is_empty() {
        return Err(Problem::new(EMPTY_BODY, "request is not a valid json"));
    }
    let invalid = |why: String| Problem::new(INVALID_JSON, "request is not a valid json").hint(why);
    let text = std::str::from_utf8(body).map_err(|error| invalid(error.to_string()))?;
    let members = json::members(text, MAX_MEMBERS).map_err(|fault| match fault {
        Fault::Invalid(why) => invalid(why),
        Fault::Duplicate(name) => {
            Problem::new(DUPLICATE_KEY, format!("member {name:?} is given twice"))
        }
        Fault::TooMany | Fault::TooDeep => Problem::new(INVALID_JOIN, "too many members"),
    })?;
    let field = |name: &str, what: &str| {
        let value = members.iter().find(|(known, _)| known == name);
        let Some((_, value)) = value else {
            return Err(Problem::new(
                INVALID_JOIN,
                format!("member \"{name}\" ({what}) is missing"),
            ));
        };
        serde_json::from_str::<String>(value.get())
            .ok()
            .filter(|text| (1..=MAX_TEXT).contains(&text.len()))
            .filter(|text| !text.chars().any(char::is_control))
            .ok_or_else(|| {
                let message =
                    format!("member \"{name}\" ({what}) is not a string of 1 to 255 bytes");
                Problem::new(INVALID_JOIN, message)
            })
    };
    let address = |name: &str, what: &str| {
        let text = field(name, what)?;
        let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        match port.and_then(|(_, port)| port.parse::<u16>().ok()) {
            Some(port) if port > 0 => Ok(text),
            _ => {
                let message = format!("member \"{name}\" ({what}) is {text:?}, not host:port");
                Err(Problem::new(INVALID_JOIN, message))
            }
        }
    };
    let name = field("node_id", "the NODE_ID")?;
    let raft_address = address("address", "the Raft address")?;
    let http_address = address("http", "the HTTP address")?;
    let id = field("id", "the incarnation")?;
    let id = id.parse().map(NodeId).map_err(|_| {
        Problem::new(
            INVALID_JOIN,
            format!("member \"id\" (the incarnation) is {id:?}, not a number"),
        )
    })?;
    Ok(Member { id, name, raft_address, http_address })
}
