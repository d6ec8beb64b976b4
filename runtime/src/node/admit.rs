//! The leader's side of a join: who may come in, and who goes for it.
//!
//! Rule: a joiner is dialled back before it is taken in; a `NODE_ID` belongs to its living holder,
//! and the holder's life is judged by asking at its address, not by a timer. A dead holder (an
//! earlier incarnation) is replaced in the same membership change. Must never: take in a node that
//! cannot be reached, or remove a holder that answers.

use crate::{
    handle::{ExecuteError, JoinError, Joined, Member, View},
    sync::Watched,
    transport::{ProbeError, Transport},
    world::World,
};
use kvorum_core::raft::{Index, Instant, NodeId, Status};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Joins looked at at once; more are told to come again.
pub const MAX_JOINS: usize = 16;

/// A holder that neither answers nor refuses (a broken network, a paused machine) keeps its
/// `NODE_ID` for this long after it was last heard.
pub const SILENT_HOLDER: Duration = Duration::from_secs(10);

/// What was found out about a joiner.
#[derive(Debug)]
pub struct Verdict {
    /// Who wants to join.
    pub joiner: Member,
    /// The membership it was judged by; under any other the verdict is void.
    pub base: Index,
    /// The dead incarnation it replaces.
    pub replaces: Option<NodeId>,
    /// Where the outcome goes.
    pub reply: oneshot::Sender<Result<Joined, JoinError>>,
    /// Whether it may.
    pub result: Result<(), JoinError>,
}

/// Judges joiners, each in a task of its own.
pub struct Admission<W: World> {
    world: W,
    transport: Transport<W>,
    cluster: u64,
    view: Arc<Watched<View>>,
    verdicts: mpsc::UnboundedSender<Verdict>,
    under_way: Arc<AtomicUsize>,
}

impl<W: World> Admission<W> {
    /// Verdicts go to `verdicts`.
    pub fn new(
        world: W,
        transport: Transport<W>,
        cluster: u64,
        view: Arc<Watched<View>>,
        verdicts: mpsc::UnboundedSender<Verdict>,
    ) -> Admission<W> {
        let under_way = Arc::new(AtomicUsize::new(0));
        Admission { world, transport, cluster, view, verdicts, under_way }
    }

    /// Looks at a joiner; the verdict follows unless the answer is clear at once.
    pub fn judge(
        &self,
        status: &Status<'_>,
        heard: &BTreeMap<NodeId, Instant>,
        joiner: Member,
        reply: oneshot::Sender<Result<Joined, JoinError>>,
    ) {
        let context = joiner.encode();
        if status.membership.contexts.get(&joiner.id) == Some(&context) {
            // A repeated join: done once its change is committed.
            let committed = status.membership_index <= status.commit;
            let joined = Joined { cluster: self.cluster, members: self.view.get().members.clone() };
            let _ = reply.send(if committed { Ok(joined) } else { Err(JoinError::Busy) });
            return;
        }
        if self.under_way.fetch_add(1, Ordering::Relaxed) >= MAX_JOINS {
            self.under_way.fetch_sub(1, Ordering::Relaxed);
            let _ = reply.send(Err(JoinError::Busy));
            return;
        }
        let holder = status
            .membership
            .contexts
            .iter()
            .filter_map(|(id, context)| Member::decode(*id, context))
            .find(|member| member.name == joiner.name && member.id != joiner.id);
        let last_heard = holder.as_ref().and_then(|holder| heard.get(&holder.id).copied());
        let (transport, verdicts) = (self.transport.clone(), self.verdicts.clone());
        let (world, under_way) = (self.world.clone(), Arc::clone(&self.under_way));
        let (me, base) = (status.id, status.membership_index);
        tokio::spawn(async move {
            let mut result = dial_back(&transport, &joiner).await;
            if let (Ok(()), Some(holder)) = (&result, &holder) {
                result = if holder.id == me {
                    Err(duplicate(holder))
                } else if holder.raft_address == joiner.raft_address {
                    // The dial back has just found another incarnation where the holder was; to
                    // ask again could only meet a broken network.
                    Ok(())
                } else {
                    holder_is_gone(&world, &transport, holder, last_heard).await
                };
            }
            let replaces = holder.map(|holder| holder.id);
            under_way.fetch_sub(1, Ordering::Relaxed);
            let _ = verdicts.send(Verdict { joiner, base, replaces, reply, result });
        });
    }

    /// This cluster.
    pub fn cluster(&self) -> u64 {
        self.cluster
    }

    /// Answers `reply` once the change that takes `joiner` in is committed; returns what waits for
    /// that.
    pub fn announce(
        &self,
        joiner: Member,
        reply: oneshot::Sender<Result<Joined, JoinError>>,
    ) -> oneshot::Sender<Result<Index, ExecuteError>> {
        let (waiter, outcome) = oneshot::channel::<Result<Index, ExecuteError>>();
        let (view, cluster) = (Arc::clone(&self.view), self.cluster);
        tokio::spawn(async move {
            let answer = match outcome.await {
                Ok(Ok(index)) => {
                    tracing::info!(joiner = joiner.name, index = index.0, "joined the cluster");
                    Ok(Joined { cluster, members: view.get().members.clone() })
                }
                // Joining is idempotent: the joiner asks again.
                _ => Err(JoinError::Busy),
            };
            let _ = reply.send(answer);
        });
        waiter
    }
}

/// The joiner must answer at the address it gives.
async fn dial_back<W: World>(transport: &Transport<W>, joiner: &Member) -> Result<(), JoinError> {
    let address = &joiner.raft_address;
    match transport.probe(address).await {
        Ok(answered) if answered.id == joiner.id => Ok(()),
        Ok(answered) => Err(JoinError::Unreachable(format!(
            "at {address} answers the node {}, not the one that joins; give every node its own \
             RAFT_BIND_ADDR",
            answered.name
        ))),
        Err(
            ProbeError::Nobody(cause) | ProbeError::Silent(cause) | ProbeError::Stranger(cause),
        ) => Err(JoinError::Unreachable(format!(
            "the cluster cannot reach {address}: {cause}; set KVORUM_RAFT_ADVERTISE to an \
                 address that the other nodes can reach"
        ))),
    }
}

/// Whether the former holder of the joiner's `NODE_ID` is gone.
async fn holder_is_gone<W: World>(
    world: &W,
    transport: &Transport<W>,
    holder: &Member,
    last_heard: Option<Instant>,
) -> Result<(), JoinError> {
    match transport.probe(&holder.raft_address).await {
        Ok(answered) if answered.id == holder.id => Err(duplicate(holder)),
        Ok(_) | Err(ProbeError::Nobody(_) | ProbeError::Stranger(_)) => Ok(()),
        Err(ProbeError::Silent(_)) => match last_heard {
            Some(heard) if world.now().since(heard) < SILENT_HOLDER => {
                Err(JoinError::HolderSilent { holder: holder.raft_address.clone() })
            }
            _ => Ok(()),
        },
    }
}

fn duplicate(holder: &Member) -> JoinError {
    JoinError::DuplicateName { holder: holder.raft_address.clone() }
}
