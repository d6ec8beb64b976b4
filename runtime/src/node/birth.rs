//! How a blank node finds its cluster.
//!
//! Rule: with `RAFT_JOIN_ADDR` it asks until it is taken in or refused for good. Without, it first
//! listens whether a living cluster still calls the node that had this `NODE_ID` and address (its
//! memory or disk is gone, the cluster is not): then it joins that; only in silence does it start a
//! cluster of its own. Must never: start a second cluster beside one that remembers it.

use super::{
    fatal::{Fatal, FatalKind},
    join::{Asked, Joiner},
};
use crate::{handle::Member, transport::PeerEvent, world::World};
use kvorum_core::raft::Restored;
use std::time::Duration;
use tokio::sync::mpsc;

/// The cluster a blank node belongs to from now on.
#[derive(Debug)]
pub struct Birth {
    /// The cluster.
    pub cluster: u64,
    /// What Raft starts from.
    pub restored: Restored,
}

/// Finds or starts the cluster of the blank node `me`.
///
/// # Errors
/// `Refused` when the cluster said no for good.
pub async fn find_cluster<W: World>(
    world: &W,
    joiner: &Joiner<W>,
    me: &Member,
    join: Option<&str>,
    grace: Duration,
    peers: &mut mpsc::Receiver<PeerEvent>,
) -> Result<Birth, Fatal> {
    if let Some(address) = join {
        return join_at(world, joiner, address, peers).await;
    }
    let until = world.now().after(grace);
    loop {
        tokio::select! {
            biased;
            event = peers.recv() => {
                if let Some(PeerEvent::Called { caller, expected, .. }) = event
                    && expected != me.id
                    && joiner.remembers(&caller.http_address, me).await
                {
                    tracing::warn!(
                        caller = caller.name,
                        "a living cluster remembers this node's NODE_ID: joining it instead of \
                         starting a new one"
                    );
                    return join_at(world, joiner, &caller.http_address, peers).await;
                }
            }
            () = world.sleep_until(until) => break,
        }
    }
    let cluster = world.entropy();
    tracing::info!(cluster = format_args!("{cluster:016x}"), "starting a new cluster");
    Ok(Birth { cluster, restored: Restored::bootstrap(me.id, me.encode()) })
}

/// Asks at `address` until the node is a member.
async fn join_at<W: World>(
    world: &W,
    joiner: &Joiner<W>,
    address: &str,
    peers: &mut mpsc::Receiver<PeerEvent>,
) -> Result<Birth, Fatal> {
    let asking = async {
        let mut pause = FIRST_PAUSE;
        let mut last = String::new();
        loop {
            match joiner.ask(address).await {
                Asked::Joined { cluster } => {
                    tracing::info!(
                        cluster = format_args!("{cluster:016x}"),
                        "joined as a learner; catching up"
                    );
                    return Ok(Birth { cluster, restored: Restored::default() });
                }
                Asked::Refused(message) => return Err(Fatal::new(FatalKind::Refused, message)),
                Asked::NotYet(cause) => {
                    if cause != last {
                        tracing::info!(address, cause, "not joined yet; asking again");
                        last = cause;
                    }
                }
            }
            world.sleep_until(world.now().after(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    };
    // Whoever calls meanwhile learns "not yet" from the transport; its events must not pile up.
    let listening = async {
        loop {
            if peers.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        biased;
        birth = asking => birth,
        () = listening => unreachable!("listening never ends"),
    }
}

/// Pause after the first vain attempt to join …
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// … doubling up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
