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
    seek::{Attempt, Call, FORWARD, FORWARDED},
};
use crate::{
    handle::{MemberView, Phase, View},
    report::Report,
    world::World,
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{HeaderMap, Request, header::HeaderValue, http::request::Parts};
use kvorum_core::raft::{NodeId, RoleName};
use std::{collections::BTreeMap, time::Duration};

/// How long the leader has to say how the members stand.
const LEADER_PATIENCE: Duration = Duration::from_millis(500);

/// A member that was not heard for so long is worth a word.
const SILENT_SECONDS: f64 = 5.0;

/// What is known of a member beside its name and addresses.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    /// Entries it lacks, as the leader knows.
    lag: Option<u64>,
    /// For how long nothing was heard of it.
    silent: Option<f64>,
}

/// What `POST /cluster/transfer` takes.
pub(super) const TRANSFER_PARAMETERS: [&str; 1] = ["timeout"];

impl<W: World> Api<W> {
    /// Answers `GET /cluster`.
    pub(super) async fn get_cluster(&self, head: &Parts) -> Result<Reply, Problem> {
        Params::parse(head.uri.query(), &[])?;
        let report = self.report().await;
        let view = self.handle.view().get();
        let mut standing = report.as_ref().map_or_else(BTreeMap::new, |report| seen(report, &view));
        let stay = head.headers.contains_key(FORWARDED) || head.headers.contains_key(FORWARD);
        if !stay && view.role != RoleName::Leader {
            standing.extend(self.as_the_leader_sees(&view).await.unwrap_or_default());
        }
        let warnings = warnings(&view, report.as_ref(), &standing);
        Ok(ok_json(cluster_json(&view, &standing, &warnings), HeaderMap::new()))
    }

    /// How the members stand, from the leader: it alone knows how far each has come.
    async fn as_the_leader_sees(&self, view: &View) -> Option<BTreeMap<NodeId, Standing>> {
        let leader = view.leader.as_ref().filter(|leader| leader.id != view.me.id)?;
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = hyper::Uri::from_static("/cluster");
        let name = HeaderValue::from_str(&view.me.name).ok()?;
        request.headers_mut().insert(FORWARDED, name);
        let deadline = self.deadline(LEADER_PATIENCE);
        let reply =
            self.client.request_until(&leader.http_address, request, deadline).await.ok()?;
        let told: serde_json::Value = serde_json::from_slice(reply.body()).ok()?;
        let members = told["members"].as_array()?.iter().filter_map(|member| {
            let id = member["id"].as_str()?.parse().ok()?;
            let (lag, silent) = (member["lag"].as_u64(), member["last_contact"].as_f64());
            Some((NodeId(id), Standing { lag, silent }))
        });
        Some(members.collect())
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
    format!("{{{}}}", member_members(view))
}

fn member_members(view: &MemberView) -> String {
    format!(
        "\"node_id\":{},\"id\":\"{}\",\"address\":{},\"http\":{},\"voter\":{}",
        string(&view.member.name),
        view.member.id.0,
        string(&view.member.raft_address),
        string(&view.member.http_address),
        view.voter
    )
}

fn standing_json(one: &MemberView, view: &View, standing: &Standing) -> String {
    let leads = view.leader.as_ref().is_some_and(|leader| leader.id == one.member.id);
    let lag = standing.lag.map_or("null".to_owned(), |lag| lag.to_string());
    let silent = standing.silent.map_or("null".to_owned(), |time| format!("{time:.3}"));
    format!(
        "{{{},\"role\":\"{}\",\"leader\":{leads},\"lag\":{lag},\"last_contact\":{silent}}}",
        member_members(one),
        if one.voter { "voter" } else { "learner" },
    )
}

/// How this node sees the members: as the leader with their lag, else only when it heard of them.
fn seen(report: &Report, view: &View) -> BTreeMap<NodeId, Standing> {
    let leads = report.role == RoleName::Leader;
    let peers = report.peers.iter().map(|peer| {
        let lag = peer.progress.map(|progress| report.last.distance(progress.matched));
        (peer.member.id, Standing { lag, silent: Some(peer.silent.as_secs_f64()) })
    });
    let me = Standing { lag: leads.then_some(0), silent: Some(0.0) };
    peers.chain([(view.me.id, me)]).collect()
}

/// What somebody should do something about, in sentences.
fn warnings(
    view: &View,
    report: Option<&Report>,
    standing: &BTreeMap<NodeId, Standing>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    let voters = view.members.iter().filter(|one| one.voter).count();
    if view.phase != Phase::Joining && report.is_none() {
        warnings.push("this node's driver does not answer; look at its log".to_owned());
    }
    match &view.leader {
        None if view.phase == Phase::Joining => {
            warnings.push("this node is not a member of a cluster yet; see its log".to_owned());
        }
        None => warnings.push(match report.and_then(|report| report.quorum_lost(view)) {
            Some(sentence) => sentence,
            None => "no leader: an election is under way".to_owned(),
        }),
        Some(_) => {
            let others = view.members.iter().filter(|one| one.member.id != view.me.id);
            for one in others {
                let silent = standing.get(&one.member.id).and_then(|standing| standing.silent);
                if let Some(silent) = silent.filter(|silent| *silent >= SILENT_SECONDS) {
                    warnings.push(format!(
                        "{} has not been heard for {silent:.0} s; start it again, or remove it with \
                         DELETE /cluster/members/{}",
                        one.member.name, one.member.name
                    ));
                }
            }
        }
    }
    match voters {
        0 => {}
        1 => warnings.push("1 voter tolerates no failure; let two more nodes join".to_owned()),
        _ if voters % 2 == 0 => warnings.push(format!(
            "{voters} voters tolerate {}, no more than {} would; an odd number is better",
            failures((voters - 1) / 2),
            voters - 1
        )),
        _ => {}
    }
    warnings
}

/// `1 failure`, `2 failures`.
fn failures(count: usize) -> String {
    match count {
        0 => "no failure".to_owned(),
        1 => "1 failure".to_owned(),
        _ => format!("{count} failures"),
    }
}

/// The cluster's id in hexadecimal, or null.
pub(super) fn cluster_id_json(view: &View) -> String {
    view.cluster.map_or("null".to_owned(), |id| format!("\"{id:016x}\""))
}

/// The leader's name, or null.
pub(super) fn leader_json(view: &View) -> String {
    view.leader.as_ref().map_or("null".to_owned(), |leader| string(&leader.name))
}

fn cluster_json(view: &View, standing: &BTreeMap<NodeId, Standing>, warnings: &[String]) -> String {
    let of = |one: &MemberView| standing.get(&one.member.id).copied().unwrap_or_default();
    let members: Vec<String> =
        view.members.iter().map(|one| standing_json(one, view, &of(one))).collect();
    let warnings: Vec<String> = warnings.iter().map(|warning| string(warning)).collect();
    let voters = view.members.iter().filter(|one| one.voter).count();
    let quorum = voters / 2 + 1;
    let tolerated = voters.saturating_sub(quorum);
    let note = match voters {
        0 => String::new(),
        1 => "1 voter tolerates 0 failures (quorum 1)".to_owned(),
        _ if voters % 2 == 0 => format!(
            "{voters} voters tolerate {tolerated} failures, the same as {} (quorum {quorum})",
            voters - 1
        ),
        _ => format!("{voters} voters tolerate {tolerated} failures (quorum {quorum})"),
    };
    format!(
        "{{\"cluster_id\":{},\"leader\":{},\"term\":{},\"voters\":{voters},\"quorum\":{},\
         \"tolerates\":{tolerated},\"note\":{},\"warnings\":[{}],\"members\":[{}]}}",
        cluster_id_json(view),
        leader_json(view),
        view.term,
        if voters == 0 { 0 } else { quorum },
        string(&note.replace(" 1 failures", " 1 failure")),
        warnings.join(","),
        members.join(",")
    )
}
