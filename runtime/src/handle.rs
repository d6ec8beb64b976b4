//! What the HTTP side may ask of its node, and what it can see of it.
//!
//! Rule: every request gets exactly one answer, and the answer says truthfully whether a write may
//! have been applied. Must never: touch the core; the driver alone does.

mod look;

pub use look::{Found, Look, Seen};

use crate::{
    metrics::{Metrics, Waiting},
    report::Report,
    sync::Watched,
    watch::Hub,
};
use bytes::Bytes;
use kvorum_core::{
    kv::{Change, Command, CommandError, Query, QueryReply, Reply},
    raft::{Index, NodeId, RoleName, Term},
};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// The way to a node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    view: Arc<Watched<View>>,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
}

/// A request to the driver.
#[derive(Debug)]
pub enum Request {
    /// Put a command through the log, here, as the leader.
    Execute {
        /// What to do; the driver stamps it with the cluster clock and the date.
        command: Command,
        /// Where the outcome goes.
        reply: oneshot::Sender<Result<Executed, ExecuteError>>,
    },
    /// Answer a query.
    Query {
        /// What to read.
        query: Query,
        /// How fresh.
        consistency: Consistency,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Answer, QueryError>>,
    },
    /// Look at something that is not a range of keys.
    Look {
        /// At what.
        look: Look,
        /// How fresh.
        consistency: Consistency,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Seen, QueryError>>,
    },
    /// Read what changed, from this node's state as it is.
    Changes {
        /// The first position: revision, and which of its changes.
        from: (u64, u32),
        /// At most so many.
        limit: usize,
        /// Where the answer goes.
        reply: oneshot::Sender<Changes>,
    },
    /// Take a node into the cluster, here, as the leader.
    Join {
        /// Who.
        joiner: Member,
        /// Where the outcome goes.
        reply: oneshot::Sender<Result<Joined, JoinError>>,
    },
    /// Change a member's part in the cluster, here, as the leader.
    ChangeMember {
        /// Whose.
        name: String,
        /// To what.
        change: MemberChange,
        /// Where the outcome goes: nothing to do, or what waits for the change's commitment.
        reply: oneshot::Sender<Result<Option<Committing>, MemberError>>,
    },
    /// Say how the node stands inside.
    Report {
        /// Where the answer goes.
        reply: oneshot::Sender<Report>,
    },
    /// Hand leadership over, to a member's name or to the best voter.
    Transfer {
        /// To whom.
        to: Option<String>,
        /// Where the outcome goes: the name of the new leader.
        reply: oneshot::Sender<Result<String, String>>,
    },
}

/// The changes asked for; why the store cannot give them; or why nobody asked it.
pub type Changes = Result<Result<Vec<Change>, CommandError>, QueryError>;

/// Says when a change is committed, and where in the log.
pub type Committing = oneshot::Receiver<Result<Index, ExecuteError>>;

/// What to do with a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberChange {
    /// It goes.
    Remove,
    /// A learner becomes a voter.
    Promote,
    /// A voter becomes a learner, and stays one until it is promoted by request.
    Demote,
}

/// Why a member was not changed. All but `OutcomeUnknown` are certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberError {
    /// This node does not lead.
    NotLeader,
    /// Another membership change is under way, or the leader is too new: try again.
    Busy,
    /// The leader itself is meant and hands leadership over: try again with the next one.
    HandingOver,
    /// No member has this name.
    Unknown,
    /// Of the voters that would be left, too few answer; the text says which.
    WouldLoseQuorum(String),
    /// The learner lacks entries, or does not answer.
    NotCaughtUp {
        /// Entries it lacks.
        lag: u64,
        /// Whether it answers.
        answers: bool,
    },
    /// Another leader's entry took the change's place.
    Lost,
    /// The node is stopping.
    Stopping,
    /// The change was proposed, and its outcome cannot be learnt here any more.
    OutcomeUnknown,
}

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Contains every write acknowledged before the request.
    #[default]
    Linearizable,
    /// This node's state as it is.
    Stale,
}

/// A command that took effect (or was refused by the state machine; see the reply).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// Its place in the log.
    pub index: Index,
    /// What the state machine answered.
    pub reply: Reply,
}

/// A query's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The log index the state stood at.
    pub applied: Index,
    /// What the state machine answered.
    pub reply: Result<QueryReply, CommandError>,
    /// The store's revision at that point.
    pub revision: u64,
}

/// Why there is no outcome of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecuteError {
    /// Not proposed: this node does not lead. Ask the leader in the view, or wait for one.
    NotLeader,
    /// Not proposed: a bounded queue is full.
    Overloaded,
    /// Not proposed: the command is too large.
    TooLarge,
    /// Not proposed: the node is stopping.
    Stopping,
    /// Proposed, and another leader's entry took its place: certainly not applied.
    Lost,
    /// Proposed, and the outcome cannot be learnt here any more.
    Unknown,
}

/// Why a query has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryError {
    /// No leader confirmed a read index; ask again.
    NoLeader,
    /// A bounded queue is full.
    Overloaded,
    /// The node is stopping.
    Stopping,
}

/// A joiner is a member now (as a learner at first).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The cluster it has joined.
    pub cluster: u64,
    /// Its members.
    pub members: Vec<MemberView>,
}

/// Why a join was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinError {
    /// This node does not lead; ask the leader in the view, or wait for one.
    NotLeader,
    /// Another membership change is under way, or the leader is too new: try again.
    Busy,
    /// A live node has this name: `holder` says where.
    DuplicateName {
        /// The holder's Raft address.
        holder: String,
    },
    /// The node that has this name does not answer, and was heard of lately: try again.
    HolderSilent {
        /// The holder's Raft address.
        holder: String,
    },
    /// The joiner's Raft address does not lead to it; the text says what was found there.
    Unreachable(String),
    /// The node is stopping.
    Stopping,
}

/// A member's identity and addresses; travels as the context in the membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The incarnation.
    pub id: NodeId,
    /// `NODE_ID`.
    pub name: String,
    /// Where its peers reach it.
    pub raft_address: String,
    /// Where clients (and forwarded requests) reach it: `host:port`.
    pub http_address: String,
}

/// A member and its part in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    /// Who.
    pub member: Member,
    /// Whether its vote counts.
    pub voter: bool,
}

/// What everybody may see of the node. Replaced as a whole when something changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// This node.
    pub me: Member,
    /// The cluster, once known.
    pub cluster: Option<u64>,
    /// What it is doing.
    pub phase: Phase,
    /// Its role.
    pub role: RoleName,
    /// The term.
    pub term: Term,
    /// The leader, if known.
    pub leader: Option<Member>,
    /// Everybody, by id.
    pub members: Vec<MemberView>,
    /// The last entry known to be committed, roughly (see `/status` for the exact one).
    pub commit: Index,
    /// The last entry applied, roughly.
    pub applied: Index,
    /// Whether data outlives the process.
    pub durable: bool,
}

/// Where a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Asking to be taken in, or waiting whether a living cluster calls.
    Joining,
    /// A member.
    Serving,
    /// Handing over and finishing.
    Stopping,
}

impl Handle {
    /// A handle whose requests go to `requests`.
    #[must_use]
    pub fn new(
        requests: mpsc::Sender<Request>,
        view: Arc<Watched<View>>,
        hub: Arc<Hub>,
        metrics: Arc<Metrics>,
    ) -> Handle {
        Handle { requests, view, hub, metrics }
    }

    /// What the node counts.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Requests that wait for the driver.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        let limit = self.requests.max_capacity();
        Waiting { name: "requests", depth: limit - self.requests.capacity(), limit }
    }

    /// How the node stands inside; nothing when it is stopping.
    pub async fn report(&self) -> Option<Report> {
        let (reply, report) = oneshot::channel();
        self.requests.send(Request::Report { reply }).await.ok()?;
        report.await.ok()
    }

    /// Where changes are published.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// What can be seen of the node.
    #[must_use]
    pub fn view(&self) -> &Watched<View> {
        &self.view
    }

    /// Puts a command through the log. The caller bounds the time; giving up leaves the outcome
    /// unknown.
    ///
    /// # Errors
    /// See `ExecuteError`; all but `Unknown` are certain.
    pub async fn execute(&self, command: Command) -> Result<Executed, ExecuteError> {
        let (reply, outcome) = oneshot::channel();
        if self.requests.send(Request::Execute { command, reply }).await.is_err() {
            return Err(ExecuteError::Stopping);
        }
        outcome.await.unwrap_or(Err(ExecuteError::Unknown))
    }

    /// Answers a query.
    ///
    /// # Errors
    /// See `QueryError`.
    pub async fn query(
        &self,
        query: Query,
        consistency: Consistency,
    ) -> Result<Answer, QueryError> {
        let (reply, outcome) = oneshot::channel();
        if self.requests.send(Request::Query { query, consistency, reply }).await.is_err() {
            return Err(QueryError::Stopping);
        }
        outcome.await.unwrap_or(Err(QueryError::Stopping))
    }

    /// Looks at something that is not a range of keys.
    ///
    /// # Errors
    /// See `QueryError`.
    pub async fn look(&self, look: Look, consistency: Consistency) -> Result<Seen, QueryError> {
        let (reply, outcome) = oneshot::channel();
        if self.requests.send(Request::Look { look, consistency, reply }).await.is_err() {
            return Err(QueryError::Stopping);
        }
        outcome.await.unwrap_or(Err(QueryError::Stopping))
    }

    /// Reads what changed, from this node's state as it is.
    ///
    /// # Errors
    /// See `QueryError`; within, what the store says.
    pub async fn changes(&self, from: (u64, u32), limit: usize) -> Changes {
        let (reply, outcome) = oneshot::channel();
        if self.requests.send(Request::Changes { from, limit, reply }).await.is_err() {
            return Err(QueryError::Stopping);
        }
        outcome.await.unwrap_or(Err(QueryError::Stopping))
    }

    /// Takes a node into the cluster.
    ///
    /// # Errors
    /// See `JoinError`.
    pub async fn join(&self, joiner: Member) -> Result<Joined, JoinError> {
        let (reply, outcome) = oneshot::channel();
        if self.requests.send(Request::Join { joiner, reply }).await.is_err() {
            return Err(JoinError::Stopping);
        }
        outcome.await.unwrap_or(Err(JoinError::Stopping))
    }

    /// Changes a member's part in the cluster; whether there was anything to do.
    ///
    /// # Errors
    /// See `MemberError`.
    pub async fn change_member(
        &self,
        name: String,
        change: MemberChange,
    ) -> Result<bool, MemberError> {
        let (reply, begun) = oneshot::channel();
        if self.requests.send(Request::ChangeMember { name, change, reply }).await.is_err() {
            return Err(MemberError::Stopping);
        }
        let Some(committing) = begun.await.unwrap_or(Err(MemberError::Stopping))? else {
            return Ok(false);
        };
        match committing.await {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(ExecuteError::Lost)) => Err(MemberError::Lost),
            _ => Err(MemberError::OutcomeUnknown),
        }
    }

    /// Hands leadership over.
    ///
    /// # Errors
    /// One line that says why not.
    pub async fn transfer(&self, to: Option<String>) -> Result<String, String> {
        let (reply, outcome) = oneshot::channel();
        if self.requests.send(Request::Transfer { to, reply }).await.is_err() {
            return Err("the node is stopping".to_owned());
        }
        outcome.await.unwrap_or_else(|_| Err("the node is stopping".to_owned()))
    }
}

impl Member {
    /// Reads a membership context; `None` when it is not one.
    #[must_use]
    pub fn decode(id: NodeId, context: &Bytes) -> Option<Member> {
        use kvorum_core::codec::get_bytes;
        let mut input = context.clone();
        let mut text = || String::from_utf8(get_bytes(&mut input, "member").ok()?.to_vec()).ok();
        Some(Member { id, name: text()?, raft_address: text()?, http_address: text()? })
    }

    /// The context that travels in the membership.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        use kvorum_core::codec::put_bytes;
        let mut out = bytes::BytesMut::new();
        put_bytes(&mut out, self.name.as_bytes());
        put_bytes(&mut out, self.raft_address.as_bytes());
        put_bytes(&mut out, self.http_address.as_bytes());
        out.freeze()
    }
}
