//! How the outcome of a transaction is told.
//!
//! Rule: one result per operation of the branch that was taken, in order, under the name of the
//! operation. Must never: say 200 when the conditions failed and nothing else was asked for.

use super::{
    Reply,
    outcome::accepted,
    problem::{PRECONDITION_FAILED, Problem},
    read::json,
    record,
    ttl::seconds,
};
use crate::handle::Executed;
use bytes::Bytes;
use kvorum_core::kv::{KeyValue, Op, OpReply, QueryReply, Txn, TxnReply, lease::GRANTED};

/// What telling takes of the question: the keys of puts, and which lists hold values.
#[derive(Debug)]
pub(super) struct Plan {
    then: Vec<Step>,
    otherwise: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Put {
        key: Bytes,
        /// Whether the result before its own is that of the grant of its lease.
        granted: bool,
    },
    Delete,
    Get {
        values: bool,
        count_only: bool,
    },
    Txn(Plan),
    /// A grant, a keep-alive or a revocation, by its name.
    Lease(&'static str),
}

impl Plan {
    /// Of a transaction.
    pub(super) fn of(txn: &Txn) -> Plan {
        Plan { then: Step::all(&txn.then), otherwise: Step::all(&txn.otherwise) }
    }

    /// Tells the outcome.
    pub(super) fn tell(&self, executed: Executed) -> Result<Reply, Problem> {
        let revision = executed.reply.revision;
        let (outcome, headers) = accepted(executed)?;
        let results = self.results(&outcome, revision);
        if !outcome.succeeded && self.otherwise.is_empty() {
            return Err(Problem::new(PRECONDITION_FAILED, "a condition does not hold")
                .hint("nothing was changed; give \"else\" to look at what is there")
                .member("succeeded", "false".to_owned())
                .member("revision", revision.to_string())
                .member("results", "[]".to_owned())
                .headers(headers));
        }
        let succeeded = outcome.succeeded;
        let text =
            format!("{{\"succeeded\":{succeeded},\"revision\":{revision},\"results\":{results}}}");
        Ok(json(text, headers))
    }

    fn results(&self, outcome: &TxnReply, revision: u64) -> String {
        let steps = if outcome.succeeded { &self.then } else { &self.otherwise };
        let mut out = String::from("[");
        let mut results = outcome.results.iter();
        for (position, step) in steps.iter().enumerate() {
            if position > 0 {
                out.push(',');
            }
            let lease =
                if matches!(step, Step::Put { granted: true, .. }) { results.next() } else { None };
            match results.next() {
                Some(result) => step.push(&mut out, result, lease, revision),
                None => out.push_str("null"),
            }
        }
        out.push(']');
        out
    }
}

impl Step {
    /// One per object of the request's list: a put that takes the lease granted right before it was
    /// one object with a TTL (no request can name that lease otherwise).
    fn all(ops: &[Op]) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::with_capacity(ops.len());
        for op in ops {
            let granted = matches!(op, Op::Put(put) if put.lease == GRANTED);
            if granted {
                steps.pop();
            }
            steps.push(Step::of(op, granted));
        }
        steps
    }

    fn of(op: &Op, granted: bool) -> Step {
        match op {
            Op::Put(put) => Step::Put { key: put.key.clone(), granted },
            Op::Delete(_) => Step::Delete,
            Op::Range(query) => {
                Step::Get { values: !query.keys_only, count_only: query.count_only }
            }
            Op::Txn(txn) => Step::Txn(Plan::of(txn)),
            Op::Grant { .. } => Step::Lease("grant"),
            Op::KeepAlive { .. } => Step::Lease("keepalive"),
            Op::Revoke { .. } => Step::Lease("revoke"),
        }
    }

    fn push(&self, out: &mut String, result: &OpReply, lease: Option<&OpReply>, revision: u64) {
        match (self, result) {
            (Step::Put { key, .. }, OpReply::Put { version, create_revision, previous }) => {
                out.push_str("{\"put\":{");
                record::push_key(out, key);
                out.push_str(&format!(
                    ",\"create_revision\":{create_revision},\"mod_revision\":{revision},\
                     \"version\":{version}"
                ));
                if let Some(OpReply::Lease { id, .. }) = lease {
                    record::push_lease(out, *id);
                }
                if let Some(previous) = previous {
                    out.push_str(",\"previous\":");
                    out.push_str(&record::record(previous, true));
                }
                out.push_str("}}");
            }
            (Step::Delete, OpReply::Delete { deleted, previous }) => {
                out.push_str(&format!("{{\"delete\":{{\"deleted\":{deleted}"));
                if !previous.is_empty() {
                    out.push_str(",\"previous\":");
                    push_list(out, previous, true);
                }
                out.push_str("}}");
            }
            (Step::Get { values, count_only }, OpReply::Range(reply)) => {
                out.push_str("{\"get\":{");
                push_found(out, reply, *values, *count_only);
                out.push_str("}}");
            }
            (Step::Txn(plan), OpReply::Txn(outcome)) => {
                let succeeded = outcome.succeeded;
                let results = plan.results(outcome, revision);
                let text =
                    format!("{{\"txn\":{{\"succeeded\":{succeeded},\"results\":{results}}}}}");
                out.push_str(&text);
            }
            (Step::Lease(name), OpReply::Lease { id, ttl_ms }) => {
                let ttl = seconds(*ttl_ms);
                out.push_str(&format!("{{\"{name}\":{{\"id\":\"{id}\",\"ttl\":{ttl}}}}}"));
            }
            (Step::Lease(name), OpReply::Revoked { id, deleted }) => {
                let text = format!("{{\"{name}\":{{\"id\":\"{id}\",\"deleted\":{deleted}}}}}");
                out.push_str(&text);
            }
            // The branch that was taken has replies of its own operations' kinds.
            _ => out.push_str("null"),
        }
    }
}

fn push_found(out: &mut String, reply: &QueryReply, values: bool, count_only: bool) {
    if count_only {
        out.push_str(&format!("\"count\":{}", reply.count));
        return;
    }
    out.push_str("\"items\":");
    push_list(out, &reply.items, values);
    out.push_str(&format!(",\"more\":{}", reply.more));
}

fn push_list(out: &mut String, items: &[KeyValue], values: bool) {
    out.push('[');
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        out.push_str(&record::record(item, values));
    }
    out.push(']');
}
