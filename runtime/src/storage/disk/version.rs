//! `VERSION`: the file that says whose directory this is.
//!
//! Rule: written last when a directory is formatted, read first when it is opened; lines of
//! `name value`, for people to read, with a checksum over the lines before it. Must never: be
//! changed after it was written.

use super::files::{io_error, write_atomically};
use crate::storage::{Identity, StorageError};
use kvorum_core::raft::NodeId;
use std::{fs, io, path::Path};

/// Its name.
pub(super) const FILE: &str = "VERSION";
/// The number of the layout this program writes, and the only one it reads.
const FORMAT: u64 = 2;
const TITLE: &str = "kvorum data directory; do not edit, do not copy to another node";

/// Writes it.
pub(super) fn write(dir: &Path, identity: &Identity) -> Result<(), StorageError> {
    let mut text = format!(
        "{TITLE}\nformat {FORMAT}\ncluster {:016x}\nnode {:016x}\nname {}\n",
        identity.cluster, identity.node.0, identity.name
    );
    text.push_str(&format!("checksum {:08x}\n", crc32c::crc32c(text.as_bytes())));
    write_atomically(&dir.join(FILE), text.as_bytes())
}

/// Reads it; `None` when there is none.
pub(super) fn read(dir: &Path) -> Result<Option<Identity>, StorageError> {
    let path = dir.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", &path, &error)),
    };
    let text = String::from_utf8_lossy(&text);
    if let Some(format) = field(&text, "format").and_then(|value| value.parse::<u64>().ok())
        && text.starts_with("kvorum data directory")
        && format != FORMAT
    {
        let cure = if format > FORMAT {
            "start a newer version"
        } else {
            "start the version that wrote it, or delete the directory and let the node join again"
        };
        return Err(StorageError::Foreign(format!(
            "{} has format {format}; this kvorum knows format {FORMAT}: {cure}",
            dir.display()
        )));
    }
    parse(&text).map(Some).ok_or_else(|| {
        StorageError::Corrupt(format!(
            "{} is damaged; put it back from a copy, or remove this node from the cluster, delete \
             its directory and let it join again",
            path.display()
        ))
    })
}

fn parse(text: &str) -> Option<Identity> {
    let (lines, checksum) = text.strip_suffix('\n')?.rsplit_once("\nchecksum ")?;
    let covered = format!("{lines}\n");
    if checksum != format!("{:08x}", crc32c::crc32c(covered.as_bytes())) {
        return None;
    }
    if field(text, "format")? != FORMAT.to_string() {
        return None;
    }
    let number = |name| u64::from_str_radix(field(text, name)?, 16).ok();
    Some(Identity {
        cluster: number("cluster")?,
        node: NodeId(number("node")?),
        name: field(text, "name")?.to_owned(),
    })
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}
