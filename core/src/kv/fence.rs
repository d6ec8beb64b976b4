//! Refusing the writes of a lock's former holder.
//!
//! Rule: a command with a fence has effect only while the lock's key is the one whose creation gave
//! the token: its create revision is the token. Must never: take a missing key for a lock.

use super::{
    command::Fence,
    read,
    reply::CommandError,
    tables::{TableFailure, Tables},
};

/// Whether the lock is still the one the fence names.
pub(super) fn judge(
    tables: &dyn Tables,
    fence: &Fence,
) -> Result<Result<(), CommandError>, TableFailure> {
    if fence.key.is_empty() {
        return Ok(Err(CommandError::EmptyKey));
    }
    let held = read::one(tables, &fence.key, None)?.map_or(0, |version| version.create_revision);
    let holds = held != 0 && held == fence.token;
    Ok(if holds { Ok(()) } else { Err(CommandError::Fenced { token: held }) })
}
