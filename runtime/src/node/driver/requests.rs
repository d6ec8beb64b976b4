//! What the HTTP side asks of the driver, and what becomes of joiners.
//!
//! Rule: what this node cannot do is refused at once, and says certainly that nothing was done; what
//! it proposes is answered when it is decided. Must never: wait.

use super::Driver;
use crate::{
    handle::{
        Committing, Consistency, ExecuteError, JoinError, MemberChange, MemberError, Request,
    },
    node::{
        admit::Verdict,
        lanes::{PendingQuery, StateJob},
        members::{self, Step},
        pending::Waiter,
        report,
    },
    report::Report,
    world::World,
};
use kvorum_core::raft::{Change, Refused, RoleName};
use tokio::sync::oneshot;

impl<W: World> Driver<W> {
    pub(super) fn request(&mut self, request: Request) {
        match request {
            Request::Execute { command, reply } => {
                if !self.pending.has_room() {
                    let _ = reply.send(Err(ExecuteError::Overloaded));
                    return;
                }
                match self.propose(command) {
                    Ok(id) => self.pending.insert(id, Waiter::Execute(reply)),
                    Err(refused) => drop(reply.send(Err(execute_error(refused)))),
                }
            }
            Request::Query { query, consistency, reply } => {
                self.query(PendingQuery::Keys(query, reply), consistency);
            }
            Request::Look { look, consistency, reply } => {
                self.query(PendingQuery::Look(look, reply), consistency);
            }
            Request::Changes { from, limit, reply } => {
                self.state.push(StateJob::Changes { from, limit, reply });
            }
            Request::Join { joiner, reply } => {
                let status = self.raft.status();
                if status.role == RoleName::Leader {
                    self.admission.judge(&status, &self.heard, joiner, reply);
                } else {
                    let _ = reply.send(Err(JoinError::NotLeader));
                }
            }
            Request::ChangeMember { name, change, reply } => {
                drop(reply.send(self.change_member(&name, change)));
            }
            Request::Report { reply } => drop(reply.send(self.report())),
            Request::Transfer { to, reply } => self.transfer(to.as_deref(), reply),
        }
    }

    fn query(&mut self, query: PendingQuery, consistency: Consistency) {
        match consistency {
            Consistency::Linearizable => self.fresh.push(query),
            Consistency::Stale => self.answer(vec![query]),
        }
    }

    fn transfer(&mut self, to: Option<&str>, reply: oneshot::Sender<Result<String, String>>) {
        let target = match to {
            None => Ok(None),
            Some(name) => match self.publisher.member_named(name) {
                Some(member) => Ok(Some(member.id)),
                None => Err(format!("no member is named \"{name}\"; see GET /cluster")),
            },
        };
        let result = target.and_then(|target| {
            self.raft
                .transfer_leadership(self.world.now(), target)
                .map(|id| self.publisher.name_of(id))
                .map_err(|refused| match refused {
                    Refused::NotLeader { .. } => "this node does not lead".to_owned(),
                    Refused::Transferring => "leadership is being handed over already".to_owned(),
                    _ => "there is no other voter that could lead; see GET /cluster".to_owned(),
                })
        });
        let _ = reply.send(result);
    }

    /// Begins a change of a member; what comes back says when it is committed.
    fn change_member(
        &mut self,
        name: &str,
        change: MemberChange,
    ) -> Result<Option<Committing>, MemberError> {
        let status = self.raft.status();
        let base = status.membership_index;
        if status.role != RoleName::Leader {
            return Err(MemberError::NotLeader);
        }
        let target = self.publisher.member_named(name).ok_or(MemberError::Unknown)?.id;
        let step = members::judge(&self.raft, target, change, |id| self.publisher.name_of(id))?;
        let now = self.world.now();
        match step {
            Step::Nothing => Ok(None),
            Step::HandOver => Err(match self.raft.transfer_leadership(now, None) {
                Ok(_) | Err(Refused::Transferring) => MemberError::HandingOver,
                Err(_) => MemberError::WouldLoseQuorum("no other voter could lead".to_owned()),
            }),
            Step::Change(what) => match self.raft.change_membership(now, base, what) {
                Ok(id) => {
                    tracing::info!(member = name, ?change, index = id.index.0, "changing a member");
                    let (waiter, committing) = oneshot::channel();
                    self.pending.insert(id, Waiter::Change(waiter));
                    Ok(Some(committing))
                }
                Err(Refused::NotLeader { .. }) => Err(MemberError::NotLeader),
                Err(_) => Err(MemberError::Busy),
            },
        }
    }

    fn report(&self) -> Report {
        report::make(&report::Sources {
            now: self.world.now(),
            raft: &self.raft,
            members: self.publisher.members(),
            heard: &self.heard,
            transport: &self.transport,
            queues: vec![
                self.log.report("log"),
                self.state.report("state"),
                self.pending.report(),
                self.reads.report(self.raft.config().max_pending_reads),
            ],
        })
    }

    /// A joiner was looked at: take it in, or tell it why not.
    pub(super) fn verdict(&mut self, verdict: Verdict) {
        let Verdict { joiner, base, replaces, reply, result } = verdict;
        if let Err(error) = result {
            let _ = reply.send(Err(error));
            return;
        }
        // Not the membership of now: two joiners of one name, both judged before either was in, must
        // not both come in.
        let change = Change {
            add: vec![(joiner.id, joiner.encode())],
            remove: replaces.into_iter().collect(),
            ..Change::default()
        };
        match self.raft.change_membership(self.world.now(), base, change) {
            Ok(id) => {
                let waiter = self.admission.announce(joiner, reply);
                self.pending.insert(id, Waiter::Change(waiter));
            }
            Err(Refused::NotLeader { .. }) => drop(reply.send(Err(JoinError::NotLeader))),
            Err(refused) => {
                tracing::debug!(joiner = joiner.name, ?refused, "join must wait");
                let _ = reply.send(Err(JoinError::Busy));
            }
        }
    }
}

fn execute_error(refused: Refused) -> ExecuteError {
    match refused {
        Refused::Overloaded(_) => ExecuteError::Overloaded,
        Refused::TooLarge => ExecuteError::TooLarge,
        Refused::NotLeader { .. }
        | Refused::Transferring
        | Refused::ChangePending
        | Refused::StaleBase { .. }
        | Refused::NotReady
        | Refused::NotMember
        | Refused::NoVoters => ExecuteError::NotLeader,
    }
}
