//! `/status`, `/health`, `/livez`, `/readyz`, `/version`: how this node is, for people and probes.
//!
//! Rule: ready means that a client sent here is served: the node is a member that knows a leader
//! and is not far behind what it knows to be committed, and it is a voter or has caught up once as
//! a learner. Alive means that the process answers, so that nobody restarts a node for want of a
//! leader. Must never: wait for anything.

use super::{
    Api, Reply,
    cluster::{cluster_id_json, leader_json},
    json::string,
    params::{Params, invalid},
    problem::Problem,
    read::json,
};
use crate::{
    handle::{Phase, View},
    world::World,
};
use hyper::{HeaderMap, StatusCode, http::request::Parts};
use kvorum_core::raft::{Index, RoleName};

/// Entries a ready node may be behind.
const READY_LAG: u64 = 1_000;

/// What `/readyz` takes.
pub(super) const READY_PARAMETERS: [&str; 2] = ["verbose", "exclude"];

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
        let uptime = self.world.now().since(self.started);
        let text = format!(
            "{{\"node_id\":{},\"id\":\"{}\",\"cluster_id\":{},\"phase\":\"{}\",\"role\":\"{}\",\
             \"term\":{},\"leader\":{},\"commit\":{},\"applied\":{},\"lag\":{},\"voter\":{},\
             \"members\":{},\"durability\":\"{durability}\",\"address\":{},\"http\":{},\
             \"uptime_seconds\":{},\"version\":\"{}\"}}",
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
            string(&view.me.raft_address),
            string(&view.me.http_address),
            uptime.as_secs(),
            env!("CARGO_PKG_VERSION"),
        );
        Ok(json(text, HeaderMap::new()))
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
    pub(super) fn readyz(&self, head: &Parts) -> Result<Reply, Problem> {
        let params = Params::parse(head.uri.query(), &READY_PARAMETERS)?;
        let verbose = params.flag("verbose")?;
        let mut checks = checks(&self.handle.view().get());
        for name in params.get("exclude").unwrap_or("").split(',').filter(|name| !name.is_empty()) {
            if !checks.iter().any(|check| check.name == name) {
                return Err(invalid("exclude", name, "serving, leader, member, caught_up"));
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
                .map(|check| format!("\"{}\":\"{}\"", check.name, check.said()))
                .collect();
            text.push_str(&format!(",\"checks\":{{{}}}", all.join(",")));
        }
        text.push('}');
        Ok(if failed.is_none() { json(text, HeaderMap::new()) } else { unavailable(text) })
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

struct Check {
    name: &'static str,
    passed: bool,
    otherwise: &'static str,
}

impl Check {
    fn said(&self) -> &'static str {
        if self.passed { "ok" } else { self.otherwise }
    }
}

fn checks(view: &View) -> Vec<Check> {
    let member = view.members.iter().any(|one| one.member.id == view.me.id);
    let lag = view.commit.distance(view.applied);
    // A learner that has heard of no commit yet has not caught up with anything.
    let begun = is_voter(view) || view.commit > Index::ZERO;
    vec![
        Check {
            name: "serving",
            passed: view.phase == Phase::Serving,
            otherwise: match view.phase {
                Phase::Stopping => "stopping",
                _ => "not a member of a cluster yet",
            },
        },
        Check { name: "leader", passed: view.leader.is_some(), otherwise: "no leader" },
        Check { name: "member", passed: member, otherwise: "not in the membership" },
        Check { name: "caught_up", passed: begun && lag <= READY_LAG, otherwise: "catching up" },
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
