//! The handshake: who calls, whom it means, and whether it may come in.
//!
//! Rule: a dialer says `Hello`, the acceptor answers `Welcome` or `Reject`, both in the frame
//! format of wire version 1, which never changes; fields may be added at the end, and what a
//! reader does not know it skips. Must never: let in a caller of another cluster, or one that
//! means another incarnation.

use crate::handle::Member;
use bytes::{Bytes, BytesMut};
use kvorum_core::{
    codec::{Malformed, get_bytes, get_u8, get_u64, put_bytes, put_u64},
    raft::NodeId,
};
use std::{fmt, ops::RangeInclusive};

/// The wire version of handshake frames, for ever.
pub const HANDSHAKE_VERSION: u8 = 1;

/// The wire versions that this build speaks after the handshake.
pub const VERSIONS: RangeInclusive<u8> = 1..=1;

/// Largest payload of a handshake frame.
pub const MAX_HANDSHAKE_BYTES: usize = 4096;

/// Longest name or address in a handshake.
const MAX_TEXT: usize = 1024;

/// Begins every `Hello`. The empty line makes servers of line-based protocols (HTTP) answer at
/// once instead of waiting for the rest of a request.
const GREETING: &[u8] = b"kvorum raft\r\n\r\n";

/// Why somebody calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To send Raft messages.
    Peer,
    /// To learn who lives here.
    Probe,
}

/// The dialer's first frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The wire versions it speaks, both ends included.
    pub versions: (u8, u8),
    /// Why it calls.
    pub purpose: Purpose,
    /// Its cluster, if it has one.
    pub cluster: Option<u64>,
    /// Who it is.
    pub caller: Member,
    /// The incarnation it means to reach; a probe means nobody in particular.
    pub expected: Option<NodeId>,
}

/// The acceptor's consent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The wire version from here on.
    pub version: u8,
    /// The acceptor's cluster, if it has one.
    pub cluster: Option<u64>,
    /// Who it is.
    pub acceptor: Member,
    /// Whether the caller is a member as far as the acceptor knows; `None` when it knows none.
    pub member: Option<bool>,
}

/// The acceptor's refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Why.
    pub reason: Reason,
    /// The acceptor's cluster, if it has one.
    pub cluster: Option<u64>,
    /// Who it is.
    pub acceptor: Member,
}

/// Why a caller may not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// One of the two has no cluster yet: try again.
    NotYet,
    /// The two belong to different clusters.
    OtherCluster,
    /// The caller means another incarnation than the one that lives here.
    OtherIncarnation,
    /// No wire version in common; these are the acceptor's.
    Version {
        /// The lowest.
        min: u8,
        /// The highest.
        max: u8,
    },
    /// A reason from a later version of kvorum.
    Unknown(u8),
}

/// The highest version that both ranges hold.
#[must_use]
pub fn agree(mine: RangeInclusive<u8>, theirs: (u8, u8)) -> Option<u8> {
    let highest = (*mine.end()).min(theirs.1);
    (highest >= (*mine.start()).max(theirs.0)).then_some(highest)
}

impl Hello {
    /// Appends the encoding.
    pub fn encode(&self, out: &mut BytesMut) {
        out.extend_from_slice(GREETING);
        let purpose = match self.purpose {
            Purpose::Peer => 0,
            Purpose::Probe => 1,
        };
        out.extend_from_slice(&[self.versions.0, self.versions.1, purpose]);
        put_option(out, self.cluster);
        put_member(out, &self.caller);
        put_option(out, self.expected.map(|id| id.0));
    }

    /// Reads what `encode` wrote; skips what a later version added.
    ///
    /// # Errors
    /// `Malformed` for anything else.
    pub fn decode(mut bytes: Bytes) -> Result<Hello, Malformed> {
        if !bytes.starts_with(GREETING) {
            return Err(Malformed("greeting"));
        }
        let input = &mut bytes.split_off(GREETING.len());
        let versions = (get_u8(input, "versions")?, get_u8(input, "versions")?);
        let purpose = match get_u8(input, "purpose")? {
            0 => Purpose::Peer,
            1 => Purpose::Probe,
            _ => return Err(Malformed("purpose")),
        };
        let cluster = get_option(input, "cluster")?;
        let caller = get_member(input)?;
        let expected = get_option(input, "expected")?.map(NodeId);
        Ok(Hello { versions, purpose, cluster, caller, expected })
    }
}

impl Welcome {
    /// Appends the encoding.
    pub fn encode(&self, out: &mut BytesMut) {
        out.extend_from_slice(&[self.version]);
        put_option(out, self.cluster);
        put_member(out, &self.acceptor);
        put_option(out, self.member.map(u64::from));
    }

    /// Reads what `encode` wrote; skips what a later version added.
    ///
    /// # Errors
    /// `Malformed` for anything else.
    pub fn decode(mut bytes: Bytes) -> Result<Welcome, Malformed> {
        let input = &mut bytes;
        let version = get_u8(input, "version")?;
        let cluster = get_option(input, "cluster")?;
        let acceptor = get_member(input)?;
        let member = match get_option(input, "member")? {
            None => None,
            Some(0) => Some(false),
            Some(1) => Some(true),
            Some(_) => return Err(Malformed("member")),
        };
        Ok(Welcome { version, cluster, acceptor, member })
    }
}

impl Reject {
    /// Appends the encoding.
    pub fn encode(&self, out: &mut BytesMut) {
        let (code, min, max) = match self.reason {
            Reason::NotYet => (1, 0, 0),
            Reason::OtherCluster => (2, 0, 0),
            Reason::OtherIncarnation => (3, 0, 0),
            Reason::Version { min, max } => (4, min, max),
            Reason::Unknown(code) => (code, 0, 0),
        };
        out.extend_from_slice(&[code, min, max]);
        put_option(out, self.cluster);
        put_member(out, &self.acceptor);
    }

    /// Reads what `encode` wrote; skips what a later version added.
    ///
    /// # Errors
    /// `Malformed` for anything else.
    pub fn decode(mut bytes: Bytes) -> Result<Reject, Malformed> {
        let input = &mut bytes;
        let code = get_u8(input, "reason")?;
        let (min, max) = (get_u8(input, "versions")?, get_u8(input, "versions")?);
        let reason = match code {
            1 => Reason::NotYet,
            2 => Reason::OtherCluster,
            3 => Reason::OtherIncarnation,
            4 => Reason::Version { min, max },
            code => Reason::Unknown(code),
        };
        let cluster = get_option(input, "cluster")?;
        let acceptor = get_member(input)?;
        Ok(Reject { reason, cluster, acceptor })
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Member { id, name, raft_address, .. } = &self.acceptor;
        let cluster = Cluster(self.cluster);
        match self.reason {
            Reason::NotYet => {
                write!(f, "{name} at {raft_address} has no cluster in common with us yet")
            }
            Reason::OtherCluster => write!(
                f,
                "{name} at {raft_address} belongs to cluster {cluster}: check RAFT_JOIN_ADDR and \
                 the addresses of both clusters"
            ),
            Reason::OtherIncarnation => {
                write!(f, "{raft_address} is now {name} with the new identity {id}")
            }
            Reason::Version { min, max } => write!(
                f,
                "{name} at {raft_address} speaks wire versions {min} to {max}, we speak {} to {}: \
                 upgrade one version at a time",
                VERSIONS.start(),
                VERSIONS.end()
            ),
            Reason::Unknown(code) => {
                write!(f, "{name} at {raft_address} refuses for a reason unknown here ({code})")
            }
        }
    }
}

/// Prints a cluster id the same way everywhere.
pub(super) struct Cluster(pub(super) Option<u64>);

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => write!(f, "{id:016x}"),
            None => f.write_str("none"),
        }
    }
}

fn put_option(out: &mut BytesMut, value: Option<u64>) {
    out.extend_from_slice(&[u8::from(value.is_some())]);
    if let Some(value) = value {
        put_u64(out, value);
    }
}

fn get_option(input: &mut Bytes, field: &'static str) -> Result<Option<u64>, Malformed> {
    match get_u8(input, field)? {
        0 => Ok(None),
        1 => get_u64(input, field).map(Some),
        _ => Err(Malformed(field)),
    }
}

fn put_member(out: &mut BytesMut, member: &Member) {
    put_u64(out, member.id.0);
    for text in [&member.name, &member.raft_address, &member.http_address] {
        put_bytes(out, text.as_bytes());
    }
}

fn get_member(input: &mut Bytes) -> Result<Member, Malformed> {
    Ok(Member {
        id: NodeId(get_u64(input, "id")?),
        name: get_text(input, "name")?,
        raft_address: get_text(input, "raft address")?,
        http_address: get_text(input, "http address")?,
    })
}

fn get_text(input: &mut Bytes, field: &'static str) -> Result<String, Malformed> {
    let bytes = get_bytes(input, field)?;
    if bytes.len() > MAX_TEXT {
        return Err(Malformed(field));
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed(field))
}
