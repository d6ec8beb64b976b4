//! `/status`, `/health`, `/livez`, `/readyz`, `/version`: how this node is, for people and probes.
//!
//! Rule: ready means that a client sent here is served: the node is a member that knows a leader
//! and is not far behind what it knows to be committed, and it is a voter or has caught up once as
//! a learner. Alive means that the process answers, so that nobody restarts a node for want of a
//! leader. Must never: wait for anything, but for the one look that `/readyz?sync` asks for.

use super::{
    Api, Reply,
    cluster::{cluster_id_json, leader_json},
    json::string,
    params::{Params, invalid},
    problem::Problem,
    read::json,
};
use crate::{
    handle::{Consistency, Phase, View},
    world::World,
};
use hyper::{HeaderMap, StatusCode, http::request::Parts};
use kvorum_core::{
    kv::{KeyRange, Query},
    raft::{Index, Instant, RoleName},
};
use std::time::Duration;

/// Entries a ready node may be behind.
const READY_LAG: u64 = 1_000;

/// What `/readyz` takes.
pub(super) const READY_PARAMETERS: [&str; 3] = ["verbose", "exclude", "sync"];

/// How long the look of `/readyz?sync` may take.
const SYNC_PATIENCE: Duration = Duration::from_secs(2);

impl<W: World> Api<W> {
    /// Answers `GET /status`.
    pub(super) fn status(&self, head: &Parts) -> Result<Reply, Problem> {
        Params::parse(head.uri.query(), &[])?;
        let view = self.handle.view().get();
        let durability = if view.durable {
            "disk (fsync on a majority)"
        } else {
            "memory (majority of processes)"
        };
        let now = self.world.now();
        let uptime = now.since(self.started);
        let text = format!(
            "{{\"node_id\":{},\"id\":\"{}\",\"cluster_id\":{},\"phase\":\"{}\",\"role\":\"{}\",\
             \"term\":{},\"leader\":{},\"commit\":{},\"applied\":{},\"lag\":{},\"voter\":{},\
             \"members\":{},{},\"watches\":{},\"durability\":\"{durability}\",\"disk\":{},\
             \"address\":{},\"http\":{},\"uptime_seconds\":{},\"uptime\":{}.{:03},\"version\":\"{}\"}}",
            string(&view.me.name),
            view.me.id.0,
            cluster_id_json(&view),
            phase(view.phase),
            role(view.role),
            view.term,
            leader_json(&view),
            view.commit,
            view.applied,
            view.commit.distance(view.applied),
            is_voter(&view),
            view.members.len(),
            self.store_members(now),
            self.handle.hub().watchers(),
            self.disk_json(&view),
            string(&view.me.raft_address),
            string(&view.me.http_address),
            uptime.as_secs(),
            uptime.as_secs(),
            uptime.subsec_millis(),
            env!("CARGO_PKG_VERSION"),
        );
        Ok(json(text, HeaderMap::new()))
    }

    /// What the state machine last said of itself; nulls before there is one.
    fn store_members(&self, now: Instant) -> String {
        let store = &self.handle.metrics().store;
        let status = store.get();
        let number =
            |value: Option<u64>| value.map_or("null".to_owned(), |value| value.to_string());
        format!(
            "\"revision\":{},\"compacted\":{},\"keys\":{},\"bytes\":{},\"live_bytes\":{},\
             \"quota\":{},\"forecast\":{},\"leases\":{}",
            number(status.map(|status| status.revision)),
            number(status.map(|status| status.compacted)),
            number(status.map(|status| status.keys)),
            number(status.map(|status| status.bytes)),
            number(status.map(|status| status.live_bytes)),
            number(status.map(|status| status.settings.quota_bytes)),
            number(store.forecast(now)),
            number(status.map(|status| status.leases)),
        )
    }

    /// How the disk does, or null in memory.
    fn disk_json(&self, view: &View) -> String {
        if !view.durable {
            return "null".to_owned();
        }
        let metrics = self.handle.metrics();
        let micros = metrics.log.recent_p99.get();
        format!(
            "{{\"log_bytes\":{},\"state_bytes\":{},\"fsync_p99\":{}.{:06},\"slow\":{}}}",
            metrics.log.disk_bytes.get(),
            metrics.state.disk_bytes.get(),
            micros / 1_000_000,
            micros % 1_000_000,
            metrics.log.slow.get() == 1,
        )
    }

    /// Answers `GET /health`, in the words of the original and of etcd.
    pub(super) fn health(&self, head: &Parts) -> Result<Reply, Problem> {
        Params::parse(head.uri.query(), &[])?;
        let view = self.handle.view().get();
        let failed = checks(&view).into_iter().take(2).find(|check| !check.passed);
        Ok(match failed {
            None => json("{\"status\":\"ok\",\"health\":\"true\"}", HeaderMap::new()),
            Some(check) => unavailable(format!(
                "{{\"status\":\"unavailable\",\"health\":\"false\",\"reason\":{}}}",
                string(check.otherwise)
            )),
        })
    }

    /// Answers `GET /livez`.
    pub(super) fn livez(&self, head: &Parts) -> Result<Reply, Problem> {
        Params::parse(head.uri.query(), &[])?;
        Ok(json("{\"status\":\"ok\"}", HeaderMap::new()))
    }

    /// Answers `GET /readyz`.
    pub(super) async fn readyz(&self, head: &Parts) -> Result<Reply, Problem> {
        let params = Params::parse(head.uri.query(), &READY_PARAMETERS)?;
        let verbose = params.flag("verbose")?;
        let mut checks = checks(&self.handle.view().get());
        if params.flag("sync")? {
            checks.push(self.sync().await);
        }
        for name in params.get("exclude").unwrap_or("").split(',').filter(|name| !name.is_empty()) {
            if !NAMES.contains(&name) {
                let names: Vec<&str> = NAMES.to_vec();
                return Err(invalid("exclude", name, &format!("some of {}", names.join(","))));
            }
            checks.retain(|check| check.name != name);
        }
        let failed = checks.iter().find(|check| !check.passed);
        let mut text = match failed {
            None => "{\"status\":\"ok\"".to_owned(),
            Some(check) => {
                format!("{{\"status\":\"unavailable\",\"reason\":{}", string(check.otherwise))
            }
        };
        if verbose {
            let all: Vec<String> = checks
                .iter()
                .map(|check| format!("\"{}\":{}", check.name, string(&check.said())))
                .collect();
            text.push_str(&format!(",\"checks\":{{{}}}", all.join(",")));
        }
        text.push('}');
        Ok(if failed.is_none() { json(text, HeaderMap::new()) } else { unavailable(text) })
    }

    /// A linearizable look: a quorum answers, and this node's state machine works.
    async fn sync(&self) -> Check {
        let query = Query { limit: 1, keys_only: true, ..Query::of(KeyRange::all()) };
        let deadline = self.deadline(SYNC_PATIENCE);
        let passed = self.query(query, Consistency::Linearizable, deadline).await.is_ok();
        Check {
            name: "sync",
            passed,
            otherwise: "a linearizable read was not confirmed in time",
            cure: "see GET /cluster for who does not answer",
        }
    }

    /// Answers `GET /version`. The etcd fields are read as three numbers by its clients.
    pub(super) fn version(&self, head: &Parts) -> Result<Reply, Problem> {
        Params::parse(head.uri.query(), &[])?;
        let text = format!(
            "{{\"version\":\"{}\",\"etcdserver\":\"3.5.99\",\"etcdcluster\":\"3.5.0\"}}",
            env!("CARGO_PKG_VERSION")
        );
        Ok(json(text, HeaderMap::new()))
    }
}

/// The checks there are.
const NAMES: [&str; 5] = ["serving", "leader", "member", "caught_up", "sync"];

struct Check {
    name: &'static str,
    passed: bool,
    otherwise: &'static str,
    /// What to do.
    cure: &'static str,
}

impl Check {
    fn said(&self) -> String {
        if self.passed { "ok".to_owned() } else { format!("{}: {}", self.otherwise, self.cure) }
    }
}

fn checks(view: &View) -> Vec<Check> {
    let member = view.members.iter().any(|one| one.member.id == view.me.id);
    let lag = view.commit.distance(view.applied);
    // A learner that has heard of no commit yet has not caught up with anything.
    let begun = is_voter(view) || view.commit > Index::ZERO;
    let (otherwise, cure) = match view.phase {
        Phase::Stopping => ("stopping", "ask another node"),
        _ => (
            "not a member of a cluster yet",
            "wait; its log says whom it asks (RAFT_JOIN_ADDR) and what they answer",
        ),
    };
    vec![
        Check { name: "serving", passed: view.phase == Phase::Serving, otherwise, cure },
        Check {
            name: "leader",
            passed: view.leader.is_some(),
            otherwise: "no leader",
            cure: "wait for the election; if it lasts, GET /cluster says who is missing",
        },
        Check {
            name: "member",
            passed: member,
            otherwise: "not in the membership",
            cure: "it was removed: to join again, start it with an empty directory",
        },
        Check {
            name: "caught_up",
            passed: begun && lag <= READY_LAG,
            otherwise: "catching up",
            cure: "wait; GET /status shows its lag shrink",
        },
    ]
}

fn unavailable(text: String) -> Reply {
    let mut reply = json(text, HeaderMap::new());
    *reply.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    reply
}

fn is_voter(view: &View) -> bool {
    view.members.iter().any(|one| one.voter && one.member.id == view.me.id)
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Joining => "joining",
        Phase::Serving => "serving",
        Phase::Stopping => "stopping",
    }
}

fn role(role: RoleName) -> &'static str {
    match role {
        RoleName::Follower => "follower",
        RoleName::PreCandidate => "pre_candidate",
        RoleName::Candidate => "candidate",
        RoleName::Leader => "leader",
    }
}
