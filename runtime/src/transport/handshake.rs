//! Who is at the other end.
//!
//! Rule: both sides name protocol version, cluster, `NODE_ID` and incarnation before anything else
//! is said; the dialler also names the incarnation it means. Must never: let a message through
//! before.

use crate::handle::Member;
use bytes::{Bytes, BytesMut};
use kvorum_core::{
    codec::{Malformed, get_bool, get_bytes, get_u64, put_bool, put_bytes, put_u64},
    raft::NodeId,
};

/// First field of every `Hello`.
const MAGIC: &[u8] = b"kvorum-raft";
/// The only wire version so far.
pub const VERSION: u64 = 1;

/// The dialler's introduction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Oldest and newest wire version it speaks.
    pub versions: (u64, u64),
    /// Its cluster, if it has one.
    pub cluster: Option<u64>,
    /// Who it is.
    pub me: Member,
    /// Whom it means; `None` when it only asks who is there.
    pub expected: Option<NodeId>,
}

/// The acceptor's introduction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The wire version to speak.
    pub version: u64,
    /// Its cluster, if it has one.
    pub cluster: Option<u64>,
    /// Who it is.
    pub me: Member,
    /// Whether the dialler is a member, as far as the acceptor knows any members.
    pub member: bool,
}

/// The acceptor's refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reject {
    /// No common wire version.
    Version,
    /// The acceptor has no cluster yet; come again.
    NotYet,
    /// The acceptor belongs to this cluster.
    OtherCluster(u64),
    /// The acceptor is this incarnation.
    OtherIncarnation(NodeId),
    /// The acceptor has too many connections.
    Full,
}

impl Hello {
    /// Appends the encoding.
    pub fn encode(&self, out: &mut BytesMut) {
        put_bytes(out, MAGIC);
        put_u64(out, self.versions.0);
        put_u64(out, self.versions.1);
        put_option(out, self.cluster);
        put_member(out, &self.me);
        put_option(out, self.expected.map(|id| id.0));
    }

    /// Reads what `encode` wrote.
    ///
    /// # Errors
    /// `Malformed`: whoever dials is not kvorum.
    pub fn decode(mut input: Bytes) -> Result<Hello, Malformed> {
        let input = &mut input;
        if get_bytes(input, "magic")? != MAGIC {
            return Err(Malformed("magic"));
        }
        Ok(Hello {
            versions: (get_u64(input, "oldest version")?, get_u64(input, "newest version")?),
            cluster: get_option(input, "cluster")?,
            me: get_member(input)?,
            expected: get_option(input, "expected node")?.map(NodeId),
        })
    }
}

impl Welcome {
    /// Appends the encoding.
    pub fn encode(&self, out: &mut BytesMut) {
        put_u64(out, self.version);
        put_option(out, self.cluster);
        put_member(out, &self.me);
        put_bool(out, self.member);
    }

    /// Reads what `encode` wrote.
    ///
    /// # Errors
    /// `Malformed`: whoever answers is not kvorum.
    pub fn decode(mut input: Bytes) -> Result<Welcome, Malformed> {
        let input = &mut input;
        Ok(Welcome {
            version: get_u64(input, "version")?,
            cluster: get_option(input, "cluster")?,
            me: get_member(input)?,
            member: get_bool(input, "member")?,
        })
    }
}

impl Reject {
    /// Appends the encoding.
    pub fn encode(&self, out: &mut BytesMut) {
        let (code, detail) = match self {
            Reject::Version => (1, 0),
            Reject::NotYet => (2, 0),
            Reject::OtherCluster(cluster) => (3, *cluster),
            Reject::OtherIncarnation(id) => (4, id.0),
            Reject::Full => (5, 0),
        };
        put_u64(out, code);
        put_u64(out, detail);
    }

    /// Reads what `encode` wrote.
    ///
    /// # Errors
    /// `Malformed`: whoever answers is not kvorum.
    pub fn decode(mut input: Bytes) -> Result<Reject, Malformed> {
        let code = get_u64(&mut input, "refusal")?;
        let detail = get_u64(&mut input, "detail")?;
        Ok(match code {
            1 => Reject::Version,
            2 => Reject::NotYet,
            3 => Reject::OtherCluster(detail),
            4 => Reject::OtherIncarnation(NodeId(detail)),
            5 => Reject::Full,
            _ => return Err(Malformed("refusal")),
        })
    }
}

fn put_option(out: &mut BytesMut, value: Option<u64>) {
    put_bool(out, value.is_some());
    if let Some(value) = value {
        put_u64(out, value);
    }
}

fn get_option(input: &mut Bytes, field: &'static str) -> Result<Option<u64>, Malformed> {
    Ok(match get_bool(input, field)? {
        true => Some(get_u64(input, field)?),
        false => None,
    })
}

fn put_member(out: &mut BytesMut, member: &Member) {
    put_u64(out, member.id.0);
    put_bytes(out, &member.encode());
}

fn get_member(input: &mut Bytes) -> Result<Member, Malformed> {
    let id = NodeId(get_u64(input, "node")?);
    let context = get_bytes(input, "member")?;
    Member::decode(id, &context).ok_or(Malformed("member"))
}
