//! `/lock/{name}`: one holder at a time, each with a fencing token larger than all before it.
//!
//! Rule: acquiring is one command: if the lock's key is free, grant a lease and create the key with
//! it. Where that does not hold, the command is refused by the state machine instead of answered, so
//! that nothing is kept under the idempotency key until the lock is acquired. Who waits watches the
//! leader's own state, and costs the log nothing. Must never: propose an acquisition again while the
//! outcome of the one before is unknown.

use super::{
    Api, Reply,
    body::Payload,
    condition::no_conditions,
    duration,
    envelope::Envelope,
    gone::Gone,
    key::shown,
    lock_queue::Place,
    lock_text::{acquired, held, holder, key_of, name, released},
    look,
    outcome::{accepted, misfit, stamps_of},
    params::{Params, invalid},
    problem::{
        INTERNAL, LOCK_FREE, LOCK_HELD, LOCK_LOST, MISSING_PARAMETER, OUTCOME_UNKNOWN, OVERLOADED,
        Problem, STOPPING, TOO_MANY_WAITERS, TOO_MANY_WATCHES, VALUE_TOO_LARGE,
    },
    read::{json, refused},
    seek::{Attempt, Call, no_leader, time_left},
    ttl::ttl_parameter,
};
use crate::{
    handle::{Consistency, Executed, Found, Look, QueryError, Seen},
    watch::Watcher,
    world::World,
};
use bytes::{Bytes, BytesMut};
use hyper::http::request::Parts;
use kvorum_core::{
    codec::put_u64,
    kv::{
        Body, CommandError, Compare, Delete, Guard, KeyRange, KeyValue, LeaseView, Op, OpReply,
        Put, Target, Txn, lease::GRANTED,
    },
    raft::{Instant, RoleName},
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// What `POST /lock/{name}` takes.
pub(super) const ACQUIRE_PARAMETERS: [&str; 3] = ["ttl", "wait", "timeout"];
/// What `DELETE /lock/{name}` takes.
pub(super) const RELEASE_PARAMETERS: [&str; 2] = ["token", "timeout"];
/// `?ttl=` when not given, in milliseconds.
const TTL_MS: u64 = 10_000;
/// Bytes of a holder's note.
const MAX_NOTE: usize = 1024;
/// An operation that the state machine always refuses, with `LeaseNotFound`: no lease has this id.
const REFUSE: Op = Op::Revoke { id: 0 };

/// A lock that somebody wants.
struct Wish<'n> {
    name: &'n Bytes,
    key: Bytes,
    envelope: Envelope,
    /// How long it may be waited for.
    until: Instant,
    /// Whether there is any time to wait.
    patient: bool,
}

/// A lock as it is seen: free, or held.
type Lock = Option<(KeyValue, Option<LeaseView>)>;

/// What came of trying.
enum Tried {
    Decided(Attempt),
    Held,
}

impl<W: World> Api<W> {
    /// Answers `POST /lock/{name}`.
    pub(super) async fn acquire_lock(
        &self,
        head: &Parts,
        path: &str,
        payload: &mut Payload,
    ) -> Result<Reply, Problem> {
        let params = Params::parse(head.uri.query(), &ACQUIRE_PARAMETERS)?;
        let name = name(path)?;
        no_conditions(&head.headers)?;
        let ttl_ms = ttl_parameter(&params, TTL_MS)?;
        let wait = self.patience_for_a_lock(&params)?;
        let timeout = self.timeout(&params)?;
        let body = payload.read(&self.world, &self.limits).await?;
        if body.len() > MAX_NOTE {
            let message = format!("the note has {} bytes, the limit is {MAX_NOTE}", body.len());
            return Err(Problem::new(VALUE_TOO_LARGE, message));
        }
        let key = key_of(&name);
        let put = Put { lease: GRANTED, ..Put::new(key.clone(), body.clone()) };
        let txn = Txn {
            guards: vec![guard(&key, Target::Version(0))],
            then: vec![Op::Grant { id: 0, ttl_ms }, Op::Put(put)],
            otherwise: vec![REFUSE],
        };
        let envelope = Envelope::new(Body::Txn(txn), &head.headers, 6)?;
        // Of a request that has waited elsewhere, the rest of its time.
        let left = time_left(&head.headers).map_or(wait, |left| left.saturating_sub(timeout));
        let until = self.deadline(wait.min(left));
        let wish = Wish { name: &name, key, envelope, until, patient: !wait.is_zero() };
        // Time for the command itself comes on top of the wait.
        let call = Call { head, body, deadline: until.after(timeout) };
        let deciding = self.decide(&call, || self.acquire(&wish));
        // The lock is not given to somebody who does not wait for it any more.
        match head.extensions.get::<Gone>().filter(|_| wish.patient) {
            None => deciding.await,
            Some(gone) => tokio::select! {
                biased;
                reply = deciding => reply,
                () = gone.left() => {
                    Err(Problem::new(OUTCOME_UNKNOWN, "the client has left while it waited"))
                }
            },
        }
    }

    fn patience_for_a_lock(&self, params: &Params) -> Result<Duration, Problem> {
        let Some(text) = params.get("wait") else { return Ok(Duration::ZERO) };
        let most = self.limits.max_request_timeout;
        duration::parse(text).filter(|wait| *wait <= most).ok_or_else(|| {
            let accepted = format!("a duration up to {}ms, e.g. 30s", most.as_millis());
            invalid("wait", text, &accepted)
        })
    }

    /// Acquires the lock here, as the leader, waiting for it if there is time.
    async fn acquire(&self, wish: &Wish<'_>) -> Result<Attempt, Problem> {
        // Who comes again under its idempotency key may hold the lock already, and would wait for
        // itself: only the state machine knows.
        if !wish.patient || wish.envelope.is_keyed() {
            match self.try_lock(wish).await? {
                Tried::Decided(attempt) => return Ok(attempt),
                Tried::Held if !wish.patient => return Err(self.told_held(wish).await),
                Tried::Held => {}
            }
        }
        let most = self.limits.lock_waiters;
        let Some(place) = self.locks.enter(&wish.key, most) else {
            let message = format!("{most} wait for locks at this node, the limit");
            return Err(Problem::new(TOO_MANY_WAITERS, message));
        };
        let mut seat = None;
        loop {
            // Nothing is proposed in here, so that giving up is certain.
            tokio::select! {
                biased;
                free = self.free(&wish.key, &place, &mut seat) => free?,
                () = self.leads_no_more() => {
                    return Ok(Attempt::Again(no_leader(&self.handle.view().get())));
                }
                () = self.stop.stopped() => {
                    return Ok(Attempt::Again(Problem::new(STOPPING, "the node is stopping")));
                }
                () = self.world.sleep_until(wish.until) => return Err(self.told_held(wish).await),
            }
            if let Tried::Decided(attempt) = self.try_lock(wish).await? {
                return Ok(attempt);
            }
        }
    }

    async fn leads_no_more(&self) {
        let view = self.handle.view();
        view.wait_for(|view| (view.role != RoleName::Leader).then_some(())).await;
    }

    /// Returns once it is the turn of `place` and the lock is free as far as this node knows. `seat`
    /// is taken before the first look, so that no release slips through between.
    async fn free(
        &self,
        key: &Bytes,
        place: &Place,
        seat: &mut Option<Watcher>,
    ) -> Result<(), Problem> {
        place.turn().await;
        if seat.is_none() {
            let most = self.limits.watches;
            let Some((watcher, _)) = self.handle.hub().watch(KeyRange::One(key.clone()), most)
            else {
                let message = format!("{most} watches are open, the limit");
                return Err(Problem::new(TOO_MANY_WATCHES, message));
            };
            *seat = Some(watcher);
        }
        let Some(watcher) = seat else { return Ok(()) };
        while self.lock_here(key).await?.is_some() {
            watcher.next().await;
        }
        Ok(())
    }

    /// One command. Refused by the state machine, it has changed nothing and is not remembered.
    async fn try_lock(&self, wish: &Wish<'_>) -> Result<Tried, Problem> {
        let held = AtomicBool::new(false);
        let attempt = self.submit(&wish.envelope, |executed| {
            let refused = executed.reply.result == Err(CommandError::LeaseNotFound);
            held.store(refused, Ordering::Relaxed);
            wish.tell(executed)
        });
        match attempt.await {
            Err(_) if held.load(Ordering::Relaxed) => Ok(Tried::Held),
            Err(problem) => Err(problem),
            Ok(attempt) => Ok(Tried::Decided(attempt)),
        }
    }

    /// The refusal, with the holder as this node knows it.
    async fn told_held(&self, wish: &Wish<'_>) -> Problem {
        let holder = self.lock_here(&wish.key).await.ok().flatten();
        let message = format!("the lock '{}' is held", shown(wish.name));
        Problem::new(LOCK_HELD, message).member("holder", or_null(holder.as_ref()))
    }

    /// The lock in this node's own state.
    async fn lock_here(&self, key: &Bytes) -> Result<Lock, Problem> {
        let look = Look::Held(key.clone());
        match self.handle.look(look, Consistency::Stale).await {
            Ok(seen) => lock_of(seen),
            Err(QueryError::Stopping) => Err(Problem::new(STOPPING, "the node is stopping")),
            Err(QueryError::NoLeader | QueryError::Overloaded) => {
                Err(Problem::new(OVERLOADED, "too many reads are under way"))
            }
        }
    }

    /// Answers `DELETE /lock/{name}`.
    pub(super) async fn release_lock(&self, head: &Parts, path: &str) -> Result<Reply, Problem> {
        let params = Params::parse(head.uri.query(), &RELEASE_PARAMETERS)?;
        let name = name(path)?;
        no_conditions(&head.headers)?;
        let token = params.number("token")?.ok_or_else(|| {
            Problem::new(MISSING_PARAMETER, "the release names no token")
                .hint("add ?token= with the token that the acquisition answered")
        })?;
        let deadline = self.deadline(self.timeout(&params)?);
        let call = Call { head, body: Bytes::new(), deadline };
        self.decide(&call, || self.release(&call, &name, token)).await
    }

    /// Releases the lock here, as the leader: ends its lease, if it is held under `token`.
    async fn release(&self, call: &Call<'_>, name: &Bytes, token: u64) -> Result<Attempt, Problem> {
        let key = key_of(name);
        let look = Look::Held(key.clone());
        // The lock that this token names was acknowledged before, by whatever leader.
        let ask = || self.handle.look(look.clone(), Consistency::Linearizable);
        let lock = lock_of(self.ask(call.deadline, ask).await?)?;
        let lease = lock.filter(|(item, _)| item.create_revision == token).map(|held| held.0.lease);
        let mut guards = vec![guard(&key, Target::Create(token))];
        let then = match lease {
            // Lost; it is proposed all the same, for this may be the repeat of a release.
            None => Vec::new(),
            Some(0) => vec![Op::Delete(Delete { range: KeyRange::One(key), previous: false })],
            Some(id) => {
                guards.push(guard(&key, Target::Lease(id)));
                vec![Op::Revoke { id }]
            }
        };
        let body = Body::Txn(Txn { guards, then, otherwise: vec![REFUSE] });
        // What the request means does not depend on the state it meets.
        let mut meaning = BytesMut::from(&name[..]);
        put_u64(&mut meaning, token);
        let envelope = Envelope::meaning(body, &call.head.headers, &meaning, 7)?;
        self.submit(&envelope, |executed| {
            let headers = stamps_of(&executed);
            match executed.reply.result {
                Ok(_) => Ok(json(released(name), headers)),
                Err(CommandError::LeaseNotFound) => {
                    let message = format!("the lock '{}' is not held under {token}", shown(name));
                    Err(Problem::new(LOCK_LOST, message).headers(headers))
                }
                Err(error) => Err(refused(error).headers(headers)),
            }
        })
        .await
    }

    /// Answers `GET` and `HEAD` of `/lock/{name}`.
    pub(super) async fn get_lock(&self, head: &Parts, path: &str) -> Result<Reply, Problem> {
        let params = Params::parse(head.uri.query(), &look::PARAMETERS)?;
        let name = name(path)?;
        let manner = self.manner(&params, head)?;
        let seen = self.look(&Look::Held(key_of(&name)), &manner).await?;
        let headers = manner.stamps(&seen);
        match lock_of(seen)? {
            Some((item, lease)) => Ok(json(held(&name, &item, lease.as_ref()), headers)),
            None => {
                let message = format!("nobody holds the lock '{}'", shown(&name));
                Err(Problem::new(LOCK_FREE, message).headers(headers))
            }
        }
    }
}

impl Wish<'_> {
    /// Tells that the lock was acquired, or what the state machine refused.
    fn tell(&self, executed: Executed) -> Result<Reply, Problem> {
        let (outcome, headers) = accepted(executed)?;
        match outcome.results[..] {
            [OpReply::Lease { id, ttl_ms }, OpReply::Put { create_revision, .. }] => {
                Ok(json(acquired(self.name, create_revision, id, ttl_ms), headers))
            }
            _ => Err(misfit(headers)),
        }
    }
}

fn guard(key: &Bytes, target: Target) -> Guard {
    Guard { range: KeyRange::One(key.clone()), compare: Compare::Equal, target }
}

fn lock_of(seen: Seen) -> Result<Lock, Problem> {
    match seen.found {
        Ok(Found::Held(lock)) => Ok(lock),
        Ok(_) => Err(Problem::new(INTERNAL, "the answer does not fit the question")),
        Err(error) => Err(refused(error)),
    }
}

fn or_null(lock: Option<&(KeyValue, Option<LeaseView>)>) -> String {
    lock.map_or("null".to_owned(), |(item, lease)| holder(item, lease.as_ref()))
}
