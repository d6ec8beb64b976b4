//! The calls about leases and locks.
//!
//! Rule: the parameters are the handlers' own. Must never: promise a header that is not always
//! there.

use super::{
    Answer, Body, Operation,
    groups::{
        BODY, JSON, JSON_TYPE, LEADER, LEASE, LOG, READ, READ_HEADERS, READ_STAMPS, STAMPS,
        WRITE_HEADERS,
    },
};
use crate::http::{
    lease, lock, look,
    problem::{
        INVALID_CONDITION, INVALID_CURSOR, INVALID_LEASE, INVALID_LOCK_NAME, INVALID_VALUE, Kind,
        LEASE_NOT_FOUND, LOCK_FREE, LOCK_HELD, LOCK_LOST, MISSING_PARAMETER, READ_TIMEOUT,
        TOO_MANY_WAITERS, TOO_MANY_WATCHES,
    },
};

const CONDITIONAL: &[Kind] = &[INVALID_CONDITION];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        path: "/lease",
        method: "post",
        id: "grantLease",
        summary: "Make a lease: keys attached to it go when it is not kept alive",
        parameters: &lease::CHANGE_PARAMETERS,
        headers: WRITE_HEADERS,
        body: Body::Json("Grant"),
        answers: &[Answer {
            status: 200,
            says: "The lease.",
            content: &[(JSON_TYPE, "Granted")],
            headers: STAMPS,
        }],
        problems: &[BODY, JSON, LEADER, LOG, LEASE, CONDITIONAL, &[INVALID_VALUE]],
    },
    Operation {
        path: "/lease/{id}",
        method: "get",
        id: "getLease",
        summary: "What is left of a lease, and its keys",
        parameters: &lease::ONE_PARAMETERS,
        headers: READ_HEADERS,
        body: Body::None,
        answers: &[Answer {
            status: 200,
            says: "The lease; `next` goes on as `from`.",
            content: &[(JSON_TYPE, "Lease")],
            headers: READ_STAMPS,
        }],
        problems: &[READ, &[INVALID_LEASE, LEASE_NOT_FOUND, INVALID_CURSOR]],
    },
    Operation {
        path: "/lease/{id}",
        method: "delete",
        id: "revokeLease",
        summary: "End a lease and remove its keys, at one revision",
        parameters: &lease::CHANGE_PARAMETERS,
        headers: WRITE_HEADERS,
        body: Body::None,
        answers: &[Answer {
            status: 200,
            says: "It has ended.",
            content: &[(JSON_TYPE, "LeaseRevoked")],
            headers: STAMPS,
        }],
        problems: &[LEADER, LOG, LEASE, CONDITIONAL],
    },
    Operation {
        path: "/lease/{id}/keepalive",
        method: "post",
        id: "keepLeaseAlive",
        summary: "Give a lease its whole TTL again",
        parameters: &lease::CHANGE_PARAMETERS,
        headers: WRITE_HEADERS,
        body: Body::None,
        answers: &[Answer {
            status: 200,
            says: "It lasts so long from now.",
            content: &[(JSON_TYPE, "Granted")],
            headers: STAMPS,
        }],
        problems: &[LEADER, LOG, LEASE, CONDITIONAL],
    },
    Operation {
        path: "/leases",
        method: "get",
        id: "listLeases",
        summary: "All leases, by id, without their keys",
        parameters: &lease::ALL_PARAMETERS,
        headers: READ_HEADERS,
        body: Body::None,
        answers: &[Answer {
            status: 200,
            says: "A page; `next` goes on as `after`.",
            content: &[(JSON_TYPE, "Leases")],
            headers: READ_STAMPS,
        }],
        problems: &[READ],
    },
    Operation {
        path: "/lock/{name}",
        method: "get",
        id: "getLock",
        summary: "Who holds a lock",
        parameters: &look::PARAMETERS,
        headers: READ_HEADERS,
        body: Body::None,
        answers: &[Answer {
            status: 200,
            says: "Its holder.",
            content: &[(JSON_TYPE, "Lock")],
            headers: READ_STAMPS,
        }],
        problems: &[READ, &[INVALID_LOCK_NAME, LOCK_FREE]],
    },
    Operation {
        path: "/lock/{name}",
        method: "post",
        id: "acquireLock",
        summary: "Acquire a lock, waiting for it if asked to. The body is a note for others",
        parameters: &lock::ACQUIRE_PARAMETERS,
        headers: WRITE_HEADERS,
        body: Body::Bytes,
        answers: &[Answer {
            status: 200,
            says: "It is held, under this token, while its lease is kept alive.",
            content: &[(JSON_TYPE, "Acquired")],
            headers: STAMPS,
        }],
        problems: &[
            BODY,
            LEADER,
            LOG,
            LEASE,
            CONDITIONAL,
            &[INVALID_LOCK_NAME, LOCK_HELD, TOO_MANY_WAITERS, TOO_MANY_WATCHES],
        ],
    },
    Operation {
        path: "/lock/{name}",
        method: "delete",
        id: "releaseLock",
        summary: "Release a lock that is held under a token",
        parameters: &lock::RELEASE_PARAMETERS,
        headers: WRITE_HEADERS,
        body: Body::None,
        answers: &[Answer {
            status: 200,
            says: "It is free.",
            content: &[(JSON_TYPE, "LockReleased")],
            headers: STAMPS,
        }],
        problems: &[
            LEADER,
            LOG,
            LEASE,
            CONDITIONAL,
            &[INVALID_LOCK_NAME, MISSING_PARAMETER, LOCK_LOST, READ_TIMEOUT],
        ],
    },
];
