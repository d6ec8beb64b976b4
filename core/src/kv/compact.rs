//! Forgetting history.
//!
//! Rule: after a compaction at C, every revision from C on can be read, and every change from C on
//! can be listed; what only older revisions need goes. So of each key the newest version at or
//! before C stays if the key is live there, a deletion at C itself stays (a watch that begins at C
//! must see it: etcd#18089, etcd#19179), and older deletions go. Must never: take long. The
//! command moves the boundary at once, which hides the old rows; they are removed in steps, some
//! by this command, some by each that follows (`SWEEP_ROWS`), the same on every replica.
//!
//! `Revisions` says which version each change superseded, so the sweep walks that table from the
//! last boundary to the new one and never scans keys that did not change. Per change: up to two
//! look-ups and three removals.

use super::{
    head::Head,
    reply::{CommandError, TxnReply},
    rows::{self, ChangeRow},
    tables::{Order, Table, TableFailure},
    write::Writer,
};
use alloc::vec::Vec;
use bytes::Bytes;

/// How many changes a compaction command looks at before all others.
pub const COMPACTION_ROWS: usize = 1024;
/// How many changes each command looks at, the compaction command too, until all are done.
pub const SWEEP_ROWS: usize = 64;

/// Moves the boundary to `revision` and begins to remove. On an error nothing was written.
pub(super) fn apply(
    writer: &mut Writer<'_>,
    revision: u64,
) -> Result<Result<TxnReply, CommandError>, TableFailure> {
    let head = &mut writer.head;
    if revision > head.revision {
        return Ok(Err(CommandError::FutureRevision));
    }
    if revision <= head.compacted {
        return Ok(Err(CommandError::Compacted { oldest: head.compacted }));
    }
    if head.sweep.0 == head.compacted {
        // What stayed for being exactly at the old boundary is looked at again.
        head.sweep.1 = 0;
    }
    head.compacted = revision;
    sweep(writer, COMPACTION_ROWS)?;
    Ok(Ok(TxnReply { succeeded: true, results: Vec::new() }))
}

/// Whether forgotten rows are still to be removed.
pub(super) fn pending(head: &Head) -> bool {
    head.compacted != 0 && head.sweep < (head.compacted, u32::MAX)
}

/// Looks at up to `limit` changes and removes what they superseded.
pub(super) fn sweep(writer: &mut Writer<'_>, limit: usize) -> Result<(), TableFailure> {
    if !pending(&writer.head) {
        return Ok(());
    }
    let compacted = writer.head.compacted;
    let start = rows::change_key(writer.head.sweep.0, writer.head.sweep.1);
    let end = rows::change_key(compacted + 1, 0);
    let mut found: Vec<(Bytes, Bytes)> = Vec::new();
    writer.tables.scan(
        Table::Revisions,
        &start,
        Some(&end),
        Order::Ascending,
        &mut |key, row| {
            found.push((Bytes::copy_from_slice(key), row.clone()));
            found.len() < limit
        },
    )?;
    let next = match found.last() {
        Some((key, _)) if found.len() == limit => {
            let (revision, sub) = rows::parse_change_key(key)?;
            (revision, sub + 1)
        }
        _ => (compacted, u32::MAX),
    };
    for (key, row) in found {
        remove(writer, &key, &row)?;
    }
    writer.head.sweep = next;
    Ok(())
}

/// Removes what nobody can ask for any more because of this change.
fn remove(writer: &mut Writer<'_>, row_key: &[u8], row: &Bytes) -> Result<(), TableFailure> {
    let (revision, _) = rows::parse_change_key(row_key)?;
    let change = ChangeRow::decode(row_key, row)?;
    if change.superseded != 0 {
        writer.forget(Table::History, &rows::history_key(&change.key, change.superseded))?;
    }
    if revision < writer.head.compacted {
        if change.deleted {
            writer.forget(Table::History, &rows::history_key(&change.key, revision))?;
        }
        writer.remove(Table::Revisions, row_key, row);
    }
    Ok(())
}
