//! The calls about the cluster and this node.
//!
//! Rule: the parameters are the handlers' own. Must never: promise a header that is not always
//! there.

use super::{
    Answer, Body, Operation,
    groups::{
        BODY, JSON, JSON_TYPE, LEADER, LOG, READ, READ_HEADERS, READ_STAMPS, STAMPS, WRITE_HEADERS,
    },
};
use crate::http::{
    cluster, join, look, members, probes,
    problem::{
        ADDRESS_UNREACHABLE, COMPACTED, DUPLICATE_KEY, DUPLICATE_NODE_ID, FENCED, FUTURE_REVISION,
        INTERNAL, INVALID_FENCE, INVALID_JOIN, INVALID_JSON, INVALID_VALUE, JOIN_BUSY,
        MEMBERSHIP_BUSY, NO_DATA, NOT_CAUGHT_UP, OVERWRITTEN, TRANSFER_REFUSED, UNKNOWN_MEMBER,
        WOULD_LOSE_QUORUM,
    },
    settings, watches,
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

/// A change of a member.
const fn change(
    path: &'static str,
    method: &'static str,
    id: &'static str,
    summary: &'static str,
    parameters: &'static [&'static str],
) -> Operation {
    Operation {
        path,
        method,
        id,
        summary,
        parameters,
        headers: &["Kvorum-Forward", "traceparent"],
        body: Body::None,
        answers: &[Answer {
            status: 200,
            says: "It is so, and committed.",
            content: &[(JSON_TYPE, "Changed")],
            headers: &[],
        }],
        problems: &[
            LEADER,
            &[UNKNOWN_MEMBER, WOULD_LOSE_QUORUM, NOT_CAUGHT_UP, MEMBERSHIP_BUSY],
            &[OVERWRITTEN, INVALID_FENCE],
        ],
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
    change(
        "/cluster/members/{member}",
        "delete",
        "removeMember",
        "Remove a member",
        &members::REMOVE_PARAMETERS,
    ),
    change(
        "/cluster/members/{member}/promote",
        "post",
        "promoteMember",
        "Make a learner a voter",
        &members::PARAMETERS,
    ),
    change(
        "/cluster/members/{member}/demote",
        "post",
        "demoteMember",
        "Make a voter a learner",
        &members::PARAMETERS,
    ),
    Operation {
        path: "/settings",
        method: "get",
        id: "settings",
        summary: "Quota and retention, which all replicas share",
        parameters: &look::PARAMETERS,
        headers: READ_HEADERS,
        body: Body::None,
        answers: &[Answer {
            status: 200,
            says: "The settings in force.",
            content: &[(JSON_TYPE, "Settings")],
            headers: READ_STAMPS,
        }],
        problems: &[READ, &[INTERNAL]],
    },
    Operation {
        path: "/settings",
        method: "patch",
        id: "changeSettings",
        summary: "Change some of the settings",
        parameters: &settings::PARAMETERS,
        headers: WRITE_HEADERS,
        body: Body::Json("SettingsChange"),
        answers: &[Answer {
            status: 200,
            says: "The settings in force now.",
            content: &[(JSON_TYPE, "Settings")],
            headers: STAMPS,
        }],
        problems: &[BODY, JSON, LEADER, LOG, &[NO_DATA, INVALID_VALUE, FENCED]],
    },
    Operation {
        path: "/compact",
        method: "post",
        id: "compact",
        summary: "Forget the history before a revision",
        parameters: &settings::PARAMETERS,
        headers: WRITE_HEADERS,
        body: Body::Json("Compact"),
        answers: &[Answer {
            status: 200,
            says: "It is forgotten.",
            content: &[(JSON_TYPE, "Compacted")],
            headers: STAMPS,
        }],
        problems: &[
            BODY,
            JSON,
            LEADER,
            LOG,
            &[NO_DATA, INVALID_VALUE, FENCED, COMPACTED, FUTURE_REVISION],
        ],
    },
    Operation {
        path: "/watches",
        method: "get",
        id: "watches",
        summary: "The watches open on this node, the slowest first",
        parameters: &watches::PARAMETERS,
        headers: &[],
        body: Body::None,
        answers: &[Answer {
            status: 200,
            says: "Who watches what, and how far behind each is.",
            content: &[(JSON_TYPE, "Watches")],
            headers: &[],
        }],
        problems: &[],
    },
    Operation {
        path: "/metrics",
        method: "get",
        id: "metrics",
        summary: "What the node counts, for Prometheus",
        parameters: &[],
        headers: &[],
        body: Body::None,
        answers: &[Answer {
            status: 200,
            says: "docs/metrics.md explains each.",
            content: &[
                ("text/plain; version=0.0.4; charset=utf-8", ""),
                ("application/openmetrics-text; version=1.0.0; charset=utf-8", ""),
            ],
            headers: &[],
        }],
        problems: &[&[INTERNAL]],
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
