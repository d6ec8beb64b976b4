//! The calls about the cluster and this node.
//!
//! Rule: the parameters are the handlers' own. Must never: promise a header that is not always
//! there.

use super::{
    Answer, Body, Operation,
    groups::{BODY, JSON, JSON_TYPE, LEADER},
};
use crate::http::{
    cluster, join, probes,
    problem::{
        ADDRESS_UNREACHABLE, DUPLICATE_KEY, DUPLICATE_NODE_ID, INVALID_JOIN, INVALID_JSON,
        INVALID_VALUE, JOIN_BUSY, TRANSFER_REFUSED,
    },
};

/// A call that looks at the node and can only succeed.
const fn look(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    answers: &'static [Answer],
) -> Operation {
    Operation {
        path,
        method: "get",
        id,
        summary,
        parameters: &[],
        headers: &[],
        body: Body::None,
        answers,
        problems: &[],
    }
}

const UNHEALTHY: &str = "Not now; `reason` says why.";

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        path: "/join",
        method: "post",
        id: "join",
        summary: "Take a node into the cluster; nodes do this themselves",
        parameters: &join::PARAMETERS,
        headers: &["Kvorum-Forward", "traceparent"],
        body: Body::Json("Join"),
        answers: &[Answer {
            status: 200,
            says: "It is a member.",
            content: &[(JSON_TYPE, "Joined")],
            headers: &[],
        }],
        problems: &[
            BODY,
            JSON,
            LEADER,
            &[INVALID_JOIN, DUPLICATE_NODE_ID, ADDRESS_UNREACHABLE, JOIN_BUSY],
        ],
    },
    look(
        "/cluster",
        "cluster",
        "The members as this node sees them",
        &[Answer {
            status: 200,
            says: "Who belongs together, and who leads.",
            content: &[(JSON_TYPE, "Cluster")],
            headers: &[],
        }],
    ),
    Operation {
        path: "/cluster/transfer",
        method: "post",
        id: "transfer",
        summary: "Hand leadership to a member, or to the best one",
        parameters: &cluster::TRANSFER_PARAMETERS,
        headers: &["Kvorum-Forward", "traceparent"],
        body: Body::Perhaps("Transfer"),
        answers: &[Answer {
            status: 200,
            says: "Who leads now.",
            content: &[(JSON_TYPE, "Transferred")],
            headers: &[],
        }],
        problems: &[BODY, LEADER, &[INVALID_JSON, DUPLICATE_KEY, INVALID_VALUE, TRANSFER_REFUSED]],
    },
    look(
        "/status",
        "status",
        "This node",
        &[Answer {
            status: 200,
            says: "Its identity, role and progress.",
            content: &[(JSON_TYPE, "Status")],
            headers: &[],
        }],
    ),
    look(
        "/health",
        "health",
        "Whether there is a leader, in the words of etcd",
        &[
            Answer {
                status: 200,
                says: "Healthy.",
                content: &[(JSON_TYPE, "Health")],
                headers: &[],
            },
            Answer {
                status: 503,
                says: UNHEALTHY,
                content: &[(JSON_TYPE, "Health")],
                headers: &[],
            },
        ],
    ),
    look(
        "/livez",
        "livez",
        "Whether the process answers",
        &[Answer { status: 200, says: "It does.", content: &[(JSON_TYPE, "Live")], headers: &[] }],
    ),
    Operation {
        path: "/readyz",
        method: "get",
        id: "readyz",
        summary: "Whether a client sent here is served",
        parameters: &probes::READY_PARAMETERS,
        headers: &[],
        body: Body::None,
        answers: &[
            Answer { status: 200, says: "Ready.", content: &[(JSON_TYPE, "Ready")], headers: &[] },
            Answer { status: 503, says: UNHEALTHY, content: &[(JSON_TYPE, "Ready")], headers: &[] },
        ],
        problems: &[],
    },
    look(
        "/version",
        "version",
        "The version, and those that clients of etcd ask for",
        &[Answer {
            status: 200,
            says: "Three versions.",
            content: &[(JSON_TYPE, "Version")],
            headers: &[],
        }],
    ),
    look(
        "/openapi.json",
        "openapi",
        "This document",
        &[Answer { status: 200, says: "OpenAPI 3.1.", content: &[(JSON_TYPE, "")], headers: &[] }],
    ),
];
