//! How the outcome of a transaction is told.
//!
//! Rule: one result per operation of the branch that was taken, in order, under the name of the
//! operation. Must never: say 200 when the conditions failed and nothing else was asked for.

use super::{
    Reply,
    outcome::stamps_of,
    problem::{PRECONDITION_FAILED, Problem},
    read::{json, refused},
    record,
};
use crate::handle::Executed;
use bytes::Bytes;
use kvorum_core::kv::{KeyValue, Op, OpReply, QueryReply, Txn, TxnReply};

/// What telling takes of the question: the keys of puts, and which lists hold values.
#[derive(Debug)]
pub(super) struct Plan {
    then: Vec<Step>,
    otherwise: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Put(Bytes),
    Delete,
    Get {
        values: bool,
        count_only: bool,
    },
    Txn(Plan),
    /// A grant, a keep-alive or a revocation.
    Lease,
}

impl Plan {
    /// Of a transaction.
    pub(super) fn of(txn: &Txn) -> Plan {
        let steps = |ops: &[Op]| ops.iter().map(Step::of).collect();
        Plan { then: steps(&txn.then), otherwise: steps(&txn.otherwise) }
    }

    /// Tells the outcome.
    pub(super) fn tell(&self, executed: Executed) -> Result<Reply, Problem> {
        let headers = stamps_of(&executed);
        let revision = executed.reply.revision;
        let outcome = match executed.reply.result {
            Ok(outcome) => outcome,
            Err(error) => return Err(refused(error).headers(headers)),
        };
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
        for (position, (step, result)) in steps.iter().zip(&outcome.results).enumerate() {
            if position > 0 {
                out.push(',');
            }
            step.push(&mut out, result, revision);
        }
        out.push(']');
        out
    }
}

impl Step {
    fn of(op: &Op) -> Step {
        match op {
            Op::Put(put) => Step::Put(put.key.clone()),
            Op::Delete(_) => Step::Delete,
            Op::Range(query) => {
                Step::Get { values: !query.keys_only, count_only: query.count_only }
            }
            Op::Txn(txn) => Step::Txn(Plan::of(txn)),
            Op::Grant { .. } | Op::KeepAlive { .. } | Op::Revoke { .. } => Step::Lease,
        }
    }

    fn push(&self, out: &mut String, result: &OpReply, revision: u64) {
        match (self, result) {
            (Step::Put(key), OpReply::Put { version, create_revision, previous }) => {
                out.push_str("{\"put\":{");
                record::push_key(out, key);
                out.push_str(&format!(
                    ",\"create_revision\":{create_revision},\"mod_revision\":{revision},\
                     \"version\":{version}"
                ));
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
            (Step::Lease, OpReply::Lease { id, ttl_ms }) => {
                let text = format!("{{\"lease\":{{\"id\":\"{id}\",\"ttl_ms\":{ttl_ms}}}}}");
                out.push_str(&text);
            }
            (Step::Lease, OpReply::Revoked { id, deleted }) => {
                let text = format!("{{\"revoke\":{{\"id\":\"{id}\",\"deleted\":{deleted}}}}}");
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
