//! Holders of leases and locks: they keep alive or forget to, release or walk away, and some write
//! on with the token of a lock that is not theirs any more.
//!
//! Rule: a lease's id is never used again; a note names its acquisition. Must never: wait for an
//! expiry (others see it).

use super::asking::Asker;
use crate::{
    clock,
    journal::{Answer, Told},
    rng::Rng,
    store::request::{Attach, Condition, Op, Request, Txn},
    workload::registers::{Book, WorkloadPlan},
};
use serde_json::Value as Json;
use std::time::Duration;

/// Milliseconds that leases last; the shortest that is granted, and a little more.
pub const TTLS: [u64; 3] = [2_000, 2_500, 4_000];
/// The locks.
const LOCKS: [&str; 2] = ["door", "gate/1"];
/// Nanoseconds between two signs of life; some are late.
const PULSE: std::ops::Range<u64> = 100_000_000..1_500_000_000;

/// A client that holds things.
pub struct Holder {
    asker: Asker,
    rng: Rng,
    number: u64,
    leases: u64,
    values: u64,
}

impl Holder {
    /// A client that holds nothing yet; `number` sets its leases apart from others'.
    #[must_use]
    pub fn new(asker: Asker, rng: Rng, number: u64) -> Holder {
        Holder { asker, rng, number, leases: 0, values: 0 }
    }

    /// Its life, until the book is closed.
    pub async fn run(mut self, book: Book, plan: WorkloadPlan) {
        while book.is_open() {
            match self.rng.below(10) {
                0..4 => self.lease(&book).await,
                4..9 => self.lock(&book).await,
                _ => self.brief().await,
            }
            clock::exactly(Duration::from_nanos(self.rng.within(&plan.think))).await;
        }
    }

    fn value(&mut self) -> String {
        self.values += 1;
        format!("{}.{}", self.asker.name, self.values)
    }

    fn key(&mut self) -> String {
        format!("e/{}/{}", self.asker.name, self.rng.below(3))
    }

    async fn pause(&mut self) {
        clock::exactly(Duration::from_nanos(self.rng.within(&PULSE))).await;
    }

    async fn keyed(&mut self, request: Request) -> Told {
        let key = self.asker.fresh_key();
        self.asker.keyed(&mut self.rng, request, &key).await
    }

    /// A value with a TTL.
    async fn brief(&mut self) {
        let (key, value) = (self.key(), self.value());
        let attach = Attach::Ttl(*self.rng.pick(&TTLS));
        let put = Request::Put { key, value, condition: Condition::Always, attach };
        if self.rng.chance(0.5) {
            self.asker.once(&mut self.rng, put).await;
        } else {
            self.keyed(put).await;
        }
    }

    /// A lease with some keys.
    async fn lease(&mut self, book: &Book) {
        self.leases += 1;
        let id = self.number * 1_000_000 + self.leases;
        let ttl = *self.rng.pick(&TTLS);
        if !good(&self.keyed(Request::Grant { id, ttl }).await) {
            return;
        }
        let attach = Attach::Lease(id);
        let (key, value) = (self.key(), self.value());
        if self.rng.chance(0.5) {
            let put = Request::Put { key, value, condition: Condition::Always, attach };
            self.asker.once(&mut self.rng, put).await;
        } else {
            let (other, more) = (format!("{key}/more"), self.value());
            let put = |key, value| Op::Put { key, value, attach, previous: false };
            let then = vec![put(key, value), put(other, more)];
            let txn = Txn { then, ..Txn::default() };
            self.keyed(Request::Txn(txn)).await;
        }
        for _ in 0..self.rng.below(5) {
            self.pause().await;
            if !book.is_open() {
                return;
            }
            if !good(&self.asker.once(&mut self.rng, Request::KeepAlive { id }).await) {
                break;
            }
        }
        if self.rng.chance(0.3) {
            self.keyed(Request::Revoke { id }).await;
        }
    }

    /// A lock, and writes under its fence.
    async fn lock(&mut self, book: &Book) {
        let name = (*self.rng.pick(&LOCKS)).to_owned();
        let (ttl, wait) = (*self.rng.pick(&TTLS), self.rng.below(3_000));
        let note = self.value();
        let lock = Request::Lock { name: name.clone(), ttl, wait, note };
        let told = if self.rng.chance(0.7) {
            self.keyed(lock).await
        } else {
            self.asker.once(&mut self.rng, lock).await
        };
        let Told::Answered(Answer { status: 200, body: Some(body), .. }) = told else { return };
        let lease = body.get("lease").and_then(Json::as_str).and_then(|text| text.parse().ok());
        let (Some(token), Some(id)) = (body.get("token").and_then(Json::as_u64), lease) else {
            return;
        };
        for _ in 0..self.rng.below(5) {
            self.fenced(&name, token).await;
            self.pause().await;
            if !book.is_open() {
                return;
            }
            if self.rng.chance(0.4) {
                self.asker.once(&mut self.rng, Request::KeepAlive { id }).await;
            }
        }
        if self.rng.chance(0.6) {
            self.keyed(Request::Unlock { name: name.clone(), token }).await;
        }
        // It does not know that it is over.
        if self.rng.chance(0.5) {
            self.pause().await;
            self.fenced(&name, token).await;
        }
    }

    async fn fenced(&mut self, name: &str, token: u64) {
        let (key, value) = (format!("e/under/{name}"), self.value());
        let put =
            Request::Put { key, value, condition: Condition::Always, attach: Attach::Nothing };
        let request = Request::Fenced { name: name.to_owned(), token, request: Box::new(put) };
        if self.rng.chance(0.5) {
            self.asker.once(&mut self.rng, request).await;
        } else {
            self.keyed(request).await;
        }
    }
}

fn good(told: &Told) -> bool {
    matches!(told, Told::Answered(answer) if answer.status < 300)
}
