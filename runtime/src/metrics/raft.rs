//! The cluster's part of the page: the core, the peers, the connections.
//!
//! Rule: a peer is named by its `NODE_ID`; there are as many as the cluster has members. Must never:
//! show progress that only the leader knows on a node that does not lead.

use super::{
    DriverMetrics,
    names::{ROLES, ignored, refused},
    page::Page,
};
use crate::{
    handle::View,
    report::{PeerReport, Report},
    transport::Stats,
};
use kvorum_core::raft::{PeerStatus, RoleName};
use prometheus_client::registry::Unit;
use std::fmt;

/// What the driver counted.
pub(super) fn counted(page: &mut Page<'_, '_>, driver: &DriverMetrics) -> fmt::Result {
    for (name, help, counter) in [
        ("kvorum_raft_proposals", "Commands appended to the log as the leader", &driver.proposals),
        ("kvorum_raft_reads", "Linearizable queries", &driver.reads),
        (
            "kvorum_raft_read_rounds",
            "Confirmations asked for by linearizable queries, which share them",
            &driver.read_rounds,
        ),
        ("kvorum_raft_committed_entries", "Entries learnt to be committed", &driver.committed),
        ("kvorum_raft_elections", "Elections this node stood in", &driver.elections),
        ("kvorum_raft_elections_won", "Elections this node won", &driver.elections_won),
        (
            "kvorum_raft_leader_changes",
            "Times that this node began to follow another leader, or to lead",
            &driver.leader_changes,
        ),
    ] {
        page.counter(name, help, counter.get())?;
    }
    Ok(())
}

/// How the core stands.
pub(super) fn standing(page: &mut Page<'_, '_>, report: &Report, view: &View) -> fmt::Result {
    let roles = ROLES.map(|(role, name)| ([("role", name)], u64::from(role == report.role)));
    page.gauges(None, "kvorum_raft_role", "1 for the role this node has", roles)?;
    page.gauge("kvorum_raft_term", "The term", report.term.0)?;
    page.gauge(
        "kvorum_raft_has_leader",
        "1 if this node knows a leader",
        u64::from(report.leader.is_some()),
    )?;
    let voters = view.members.iter().filter(|one| one.voter).count();
    let members =
        [([("kind", "voter")], voters), ([("kind", "learner")], view.members.len() - voters)];
    page.gauges(None, "kvorum_raft_members", "Members of the cluster", members)?;
    page.gauge(
        "kvorum_raft_quorum",
        "Voters that must live for the cluster to work",
        if voters == 0 { 0 } else { voters / 2 + 1 },
    )?;
    let leads = report.role == RoleName::Leader;
    let me = view.members.iter().any(|one| one.voter && one.member.id == view.me.id);
    let heard = leads.then(|| report.voters_active(me));
    page.gauges(
        None,
        "kvorum_raft_voters_active",
        "Voters that answered the leader within an election time-out, itself among them; absent on \
         nodes that do not lead",
        heard.map(|heard| ([("seen_by", "leader")], heard)),
    )?;
    for (name, help, index) in [
        ("kvorum_raft_first_index", "The log begins after this entry", report.base),
        ("kvorum_raft_last_index", "The last entry of the log", report.last),
        ("kvorum_raft_written_index", "The last entry on this node's disk", report.written),
        ("kvorum_raft_commit_index", "The last entry known to be committed", report.commit),
        ("kvorum_raft_applied_index", "The last entry applied", report.applied),
    ] {
        page.gauge(name, help, index.0)?;
    }
    page.counters(
        "kvorum_raft_ignored_messages",
        "Messages of peers that were ignored, by reason",
        report.ignored.iter().map(|(reason, count)| ([("reason", ignored(*reason))], *count)),
    )?;
    page.counters(
        "kvorum_raft_refused_requests",
        "Requests the core refused, by reason",
        report.refused.iter().map(|(reason, count)| ([("reason", refused(*reason))], *count)),
    )?;
    page.counter(
        "kvorum_raft_divergences",
        "Times that the voters' states differed and none had a majority",
        report.divergences,
    )
}

/// How each peer stands.
pub(super) fn peers(page: &mut Page<'_, '_>, report: &Report) -> fmt::Result {
    let all = || report.peers.iter().map(|peer| ([("peer", peer.member.name.as_str())], peer));
    let led = || {
        let status = |peer: &PeerReport| peer.progress;
        all().filter_map(move |(labels, peer)| Some((labels, status(peer)?)))
    };
    page.gauges(
        Some(&Unit::Seconds),
        "kvorum_peer_last_contact",
        "Time since this node last heard of the peer",
        all().map(|(labels, peer)| (labels, peer.silent.as_secs_f64())),
    )?;
    let lag = |status: &PeerStatus| report.last.distance(status.matched);
    type Show<'s> = &'s dyn Fn(&PeerStatus) -> u64;
    let shown: [(&str, &str, Show<'_>); 4] = [
        (
            "kvorum_peer_active",
            "1 if the peer answered the leader within an election time-out; leader only",
            &|status| u64::from(status.active),
        ),
        (
            "kvorum_peer_match_index",
            "The last entry known to be durable on the peer; leader only",
            &|status| status.matched.0,
        ),
        ("kvorum_peer_lag_entries", "Entries the peer lacks; leader only", &lag),
        ("kvorum_peer_inflight_appends", "Appends under way to the peer; leader only", &|status| {
            status.inflight.0 as u64
        }),
    ];
    for (name, help, show) in shown {
        let series = led().map(|(labels, status)| (labels, show(&status)));
        page.gauges(None, name, help, series)?;
    }
    page.gauges(
        Some(&Unit::Bytes),
        "kvorum_peer_inflight",
        "Bytes of entries under way to the peer; leader only",
        led().map(|(labels, status)| (labels, status.inflight.1)),
    )?;
    page.gauges(
        Some(&Unit::Bytes),
        "kvorum_peer_snapshot",
        "Bytes the peer holds of the snapshot under way to it; leader only",
        led().map(|(labels, status)| (labels, status.snapshot_bytes)),
    )?;
    page.gauges(
        None,
        "kvorum_peer_state",
        "1 for how the peer is replicated to: probe, replicate or snapshot; leader only",
        led().map(|([peer], status)| ([peer, ("state", status.state)], 1_u64)),
    )?;
    page.gauges(
        None,
        "kvorum_peer_queue_messages",
        "Messages that wait for the peer",
        all().map(|(labels, peer)| (labels, peer.link.waiting_messages)),
    )?;
    page.gauges(
        Some(&Unit::Bytes),
        "kvorum_peer_queue",
        "Bytes that wait for the peer",
        all().map(|(labels, peer)| (labels, peer.link.waiting_bytes)),
    )?;
    page.counters(
        "kvorum_peer_connections",
        "Connections made to the peer; one that grows without end is a broken network",
        all().map(|(labels, peer)| (labels, peer.link.connections)),
    )?;
    page.counters(
        "kvorum_peer_sent_messages",
        "Messages sent to the peer",
        all().map(|(labels, peer)| (labels, peer.link.sent_messages)),
    )?;
    page.byte_counters(
        "kvorum_peer_sent",
        "Bytes sent to the peer",
        all().map(|(labels, peer)| (labels, peer.link.sent_bytes)),
    )
}

/// The connections to and from all peers.
pub(super) fn transport(page: &mut Page<'_, '_>, stats: &Stats) -> fmt::Result {
    for (name, help, count) in [
        ("kvorum_transport_sent_messages", "Messages sent to peers", stats.sent_messages),
        ("kvorum_transport_sent_batches", "Writes they took", stats.sent_batches),
        ("kvorum_transport_received_messages", "Messages of peers", stats.received_messages),
        ("kvorum_transport_dials", "Dials tried", stats.dials),
        ("kvorum_transport_dials_failed", "Dials that failed", stats.dials_failed),
        ("kvorum_transport_connected", "Connections made to peers", stats.connected),
        ("kvorum_transport_accepted", "Connections accepted from peers", stats.accepted),
    ] {
        page.counter(name, help, count)?;
    }
    for (name, help, count) in [
        ("kvorum_transport_sent", "Bytes sent to peers, frames included", stats.sent_bytes),
        ("kvorum_transport_received", "Bytes of peers, frames included", stats.received_bytes),
    ] {
        page.counter_of(&Unit::Bytes, name, help, count)?;
    }
    let dropped = [
        ("full", stats.dropped_full),
        ("stale", stats.dropped_stale),
        ("unknown", stats.dropped_unknown),
        ("too_large", stats.dropped_too_large),
    ];
    page.counters(
        "kvorum_transport_dropped_messages",
        "Messages to peers that were dropped, by reason; Raft repeats what is lost",
        dropped.map(|(reason, count)| ([("reason", reason)], count)),
    )?;
    let closed = [
        ("too_many", stats.refused_inbound),
        ("rejected", stats.rejected),
        ("unfinished", stats.unfinished),
        ("stranger", stats.strangers),
        ("corrupt", stats.corrupt),
        ("impostor", stats.impostors),
        ("idle", stats.idle_closed),
    ];
    page.counters(
        "kvorum_transport_closed_connections",
        "Connections of peers that this node refused or closed, by reason",
        closed.map(|(reason, count)| ([("reason", reason)], count)),
    )
}
