//! The calls about many keys: scans, range deletes, transactions, watches.
//!
//! Rule: the parameters are the handlers' own. Must never: promise a header that is not always
//! there.

use super::{
    Answer, Body, Operation,
    groups::{
        BODY, JSON, JSON_TYPE, KEY, LEADER, LEASE, LOG, PAST, READ, READ_HEADERS, READ_STAMPS,
        STAMPS, WRITE_HEADERS,
    },
};
use crate::http::{
    erase,
    problem::{
        COMPACTED, FUTURE_REVISION, INVALID_CONDITION, INVALID_CURSOR, INVALID_TXN, INVALID_VALUE,
        JSON_TOO_DEEP, NO_LEADER, NOT_TEXT, OVERLOADED, PRECONDITION_FAILED, READ_TIMEOUT,
        STOPPING, TOO_MANY_KEYS, TOO_MANY_WATCHES,
    },
    scan, txn, watch,
};

/// Lines of JSON.
const LINES: &str = "application/x-ndjson";

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        path: "/keys",
        method: "get",
        id: "scan",
        summary: "List keys in order, in pages or as a stream, at one revision",
        parameters: &scan::PARAMETERS,
        headers: READ_HEADERS,
        body: Body::None,
        answers: &[Answer {
            status: 200,
            says: "A page; `Link` has the address of the next one. As NDJSON, all there is.",
            content: &[(JSON_TYPE, "Page"), (LINES, "")],
            headers: READ_STAMPS,
        }],
        problems: &[READ, PAST, &[INVALID_CURSOR, NOT_TEXT]],
    },
    Operation {
        path: "/keys",
        method: "delete",
        id: "deleteKeys",
        summary: "Delete a range of keys at one revision",
        parameters: &erase::PARAMETERS,
        headers: WRITE_HEADERS,
        body: Body::None,
        answers: &[Answer {
            status: 200,
            says: "How many were deleted.",
            content: &[(JSON_TYPE, "Erased")],
            headers: STAMPS,
        }],
        problems: &[LEADER, LOG, LEASE, &[INVALID_CONDITION]],
    },
    Operation {
        path: "/txn",
        method: "post",
        id: "transact",
        summary: "Decide on conditions, and do several things at one revision",
        parameters: &txn::PARAMETERS,
        headers: WRITE_HEADERS,
        body: Body::Json("Txn"),
        answers: &[Answer {
            status: 200,
            says: "What each operation gave.",
            content: &[(JSON_TYPE, "TxnOutcome")],
            headers: STAMPS,
        }],
        problems: &[
            BODY,
            JSON,
            KEY,
            LEADER,
            LOG,
            LEASE,
            PAST,
            &[
                INVALID_CONDITION,
                INVALID_TXN,
                INVALID_VALUE,
                JSON_TOO_DEEP,
                TOO_MANY_KEYS,
                PRECONDITION_FAILED,
            ],
        ],
    },
    Operation {
        path: "/watch",
        method: "get",
        id: "watch",
        summary: "Hear of every change, one message per revision",
        parameters: &watch::PARAMETERS,
        headers: &["Last-Event-ID", "traceparent"],
        body: Body::None,
        answers: &[Answer {
            status: 200,
            says: "A stream without end. What ends it is told as its last event, `slow_watcher` \
                   among others.",
            content: &[("text/event-stream", ""), (LINES, "")],
            headers: READ_STAMPS,
        }],
        problems: &[&[
            NO_LEADER,
            READ_TIMEOUT,
            STOPPING,
            OVERLOADED,
            TOO_MANY_WATCHES,
            FUTURE_REVISION,
            COMPACTED,
        ]],
    },
];
