//! Bringing a request to the leader, wherever it is and however long the election takes.
//!
//! Rule: an attempt that certainly changed nothing is repeated until the deadline; one hop only,
//! so that two nodes that disagree about the leader never pass a request to and fro. Must never:
//! repeat an attempt whose outcome is unknown.

use super::{
    Api, Reply,
    client::ClientError,
    problem::{
        FORWARDING_DECLINED, NO_LEADER, NOT_LEADER, OUTCOME_UNKNOWN, Problem, READ_TIMEOUT,
        STOPPING,
    },
};
use crate::{
    handle::{Member, Phase, View},
    world::World,
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Request, Uri,
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};
use kvorum_core::raft::{Instant, RoleName};
use serde_json::Value;
use std::{future::Future, time::Duration};

/// Carries the name of the node that forwarded a request.
pub(super) const FORWARDED: HeaderName = HeaderName::from_static("kvorum-forwarded");
/// Milliseconds that a forwarded request may still take.
const TIME_LEFT: HeaderName = HeaderName::from_static("kvorum-time-left");
/// `no`: answer 421 instead of forwarding.
pub(super) const FORWARD: HeaderName = HeaderName::from_static("kvorum-forward");
/// Names the leader in a 421.
const LEADER: HeaderName = HeaderName::from_static("kvorum-leader");

/// Without news, an attempt is repeated after this long, doubling up to `LONGEST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// A stopping node waits no longer than this for the one that takes its leadership over.
const SUCCESSOR_PATIENCE: Duration = Duration::from_secs(1);

/// Headers that belong to a connection, not to the message (RFC 9110 §7.6.1), or are made anew.
const HOP_BY_HOP: [HeaderName; 10] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
    header::EXPECT,
];

/// What came of one attempt.
pub(super) enum Attempt {
    /// It is decided.
    Done(Reply),
    /// Certainly nothing was changed. Try again; the problem is told when time runs out.
    Again(Problem),
}

/// A request on its way to the leader.
pub(super) struct Call<'r> {
    /// Its head, forwarded as it came.
    pub head: &'r Parts,
    /// Its body.
    pub body: Bytes,
    /// When to give up.
    pub deadline: Instant,
}

impl<W: World> Api<W> {
    /// Lets `act` decide the request if this node leads, or the leader if another does. `act` is
    /// bounded by the call's deadline, which leaves its outcome unknown.
    pub(super) async fn decide<F, A>(&self, call: &Call<'_>, act: F) -> Result<Reply, Problem>
    where
        F: Fn() -> A,
        A: Future<Output = Result<Attempt, Problem>>,
    {
        let forwarded = call.head.headers.contains_key(FORWARDED);
        let stay = call.head.headers.get(FORWARD).is_some_and(|value| value == "no");
        let mut pause = FIRST_PAUSE;
        let mut deadline = call.deadline;
        loop {
            let view = self.handle.view().get();
            let attempt = match &view.leader {
                _ if view.role == RoleName::Leader => {
                    match self.until(call.deadline, act()).await {
                        Some(attempt) => attempt?,
                        None => return Err(timed_out()),
                    }
                }
                _ if forwarded => return Err(not_leader(&view)),
                Some(leader) if leader.id != view.me.id && stay => return Err(declined(leader)),
                Some(leader) if leader.id != view.me.id => {
                    self.forward(leader, &view.me, call).await?
                }
                _ => Attempt::Again(no_leader(&view)),
            };
            let problem = match attempt {
                Attempt::Done(reply) => return Ok(reply),
                // The node that forwarded waits, and asks whoever leads then.
                Attempt::Again(problem) if forwarded => return Err(problem),
                Attempt::Again(problem) => problem,
            };
            if problem.kind() == STOPPING {
                if !has_other_voter(&view) {
                    return Err(problem);
                }
                deadline = deadline.min(self.world.now().after(SUCCESSOR_PATIENCE));
            }
            if !self.wait(&view, &mut pause, deadline).await {
                return Err(problem);
            }
        }
    }

    async fn forward(
        &self,
        leader: &Member,
        me: &Member,
        call: &Call<'_>,
    ) -> Result<Attempt, Problem> {
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.head.method.clone();
        if let Some(path) = call.head.uri.path_and_query() {
            *request.uri_mut() = Uri::from(path.clone());
        }
        *request.headers_mut() = end_to_end(&call.head.headers);
        request.headers_mut().remove(header::HOST);
        let name = HeaderValue::from_str(&me.name);
        let name = name.unwrap_or(HeaderValue::from_static("another-node"));
        request.headers_mut().insert(FORWARDED, name);
        self.handle.metrics().http.forwarded.one();
        let left = call.deadline.since(self.world.now()).as_millis();
        let left = HeaderValue::from(u64::try_from(left).unwrap_or(u64::MAX));
        request.headers_mut().insert(TIME_LEFT, left);
        match self.client.request_until(&leader.http_address, request, call.deadline).await {
            Ok(reply) => Ok(match refused(&reply) {
                Some(why) => Attempt::Again(Problem::new(
                    NO_LEADER,
                    format!("{} at {} answered: {why}", leader.name, leader.http_address),
                )),
                None => {
                    let (mut head, body) = reply.into_parts();
                    head.headers = end_to_end(&head.headers);
                    Attempt::Done(Reply::from_parts(head, body.into()))
                }
            }),
            Err(ClientError::NotSent(why)) => Ok(Attempt::Again(Problem::new(
                NO_LEADER,
                format!("the leader {} at {}: {why}", leader.name, leader.http_address),
            ))),
            Err(ClientError::Unknown(why)) => Err(Problem::new(
                OUTCOME_UNKNOWN,
                format!(
                    "the request was sent to the leader {} at {}, and then: {why}",
                    leader.name, leader.http_address
                ),
            )),
        }
    }

    /// Waits for other news of the leader than `seen`, for a pause that grows, or for the
    /// deadline; returns whether there is time left.
    pub(super) async fn wait(&self, seen: &View, pause: &mut Duration, deadline: Instant) -> bool {
        let again = self.world.now().after(*pause).min(deadline);
        *pause = (*pause * 2).min(LONGEST_PAUSE);
        tokio::select! {
            biased;
            () = self.handle.view().wait_for(|now| is_news(seen, now).then_some(())) => {}
            () = self.world.sleep_until(again) => {}
        }
        self.world.now() < deadline
    }

    /// `future`'s output, unless the deadline comes first.
    pub(super) async fn until<F: Future>(&self, deadline: Instant, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = self.world.sleep_until(deadline) => None,
        }
    }

    /// The first pause of `wait`.
    pub(super) fn first_pause(&self) -> Duration {
        FIRST_PAUSE
    }
}

fn has_other_voter(view: &View) -> bool {
    view.members.iter().any(|one| one.voter && one.member.id != view.me.id)
}

fn is_news(seen: &View, now: &View) -> bool {
    (seen.role, seen.term, seen.phase) != (now.role, now.term, now.phase)
        || seen.leader != now.leader
}

/// Why a forwarded request was refused with certainty, if it was: a 503 that says `applied: no`.
fn refused(reply: &hyper::Response<Bytes>) -> Option<String> {
    if reply.status() != 503 {
        return None;
    }
    let problem: Value = serde_json::from_slice(reply.body()).ok()?;
    (problem["applied"] == "no").then(|| problem["message"].as_str().unwrap_or("").to_owned())
}

fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    for named in headers.get_all(header::CONNECTION) {
        for name in named.to_str().unwrap_or("").split(',') {
            kept.remove(name.trim());
        }
    }
    for name in HOP_BY_HOP {
        kept.remove(name);
    }
    kept
}

/// How long a request that another node forwarded may still take there.
pub(super) fn time_left(headers: &HeaderMap) -> Option<Duration> {
    headers.get(FORWARDED)?;
    headers.get(TIME_LEFT)?.to_str().ok()?.parse().ok().map(Duration::from_millis)
}

/// Nobody leads, as far as this node knows.
pub(super) fn no_leader(view: &View) -> Problem {
    let message = match view.phase {
        Phase::Joining => "this node is not a member of a cluster yet",
        Phase::Serving | Phase::Stopping => "the cluster has no leader",
    };
    let kind = if view.phase == Phase::Stopping { STOPPING } else { NO_LEADER };
    Problem::new(kind, if kind == STOPPING { "the node is stopping" } else { message })
}

/// A linearizable read that nobody confirmed.
pub(super) fn read_timeout(view: &View) -> Problem {
    match &view.leader {
        None => no_leader(view),
        Some(leader) => Problem::new(
            READ_TIMEOUT,
            format!("the leader {} did not confirm the read in time", leader.name),
        ),
    }
}

fn not_leader(view: &View) -> Problem {
    let leader = view.leader.as_ref().map_or("unknown", |leader| leader.name.as_str());
    let message = format!("{} does not lead; the leader is {leader}", view.me.name);
    Problem::new(NOT_LEADER, message)
}

fn declined(leader: &Member) -> Problem {
    let message = format!("the leader is {} at {}", leader.name, leader.http_address);
    let value = format!("{}; url=\"http://{}\"", leader.name, leader.http_address);
    Problem::new(FORWARDING_DECLINED, message).header(LEADER, &value)
}

fn timed_out() -> Problem {
    Problem::new(OUTCOME_UNKNOWN, "the request was proposed, but its outcome came not in time")
}
