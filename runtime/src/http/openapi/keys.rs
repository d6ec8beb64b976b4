//! The calls about single keys.
//!
//! Rule: the parameters are the handlers' own. Must never: promise a header that is not always
//! there.

use super::{
    Answer, Body, Operation,
    groups::{
        BODY, CONDITION, JSON, JSON_TYPE, KEY, KEY_STAMPS, KEY_WRITE_HEADERS, LEADER, LEASE, LOG,
        PAST, READ, READ_STAMPS, STAMPS,
    },
};
use crate::http::{
    problem::{
        BAD_BASE64, CONDITION_REQUIRED, DUPLICATE_KEY, EMPTY_BODY, INVALID_JSON, INVALID_VALUE,
        JSON_TOO_DEEP, KEY_EXISTS, KEY_NOT_FOUND, Kind, NO_DATA, NOT_TEXT, TOO_MANY_KEYS,
        TOO_MANY_WATCHES,
    },
    read, write,
};

const READ_HEADERS: &[&str] =
    &["If-Match", "If-None-Match", "Prefer", "Kvorum-Min-Revision", "traceparent"];

const GOT: &[Answer] = &[
    Answer {
        status: 200,
        says: "The key: `{\"key\":value}`, the bytes of its value, or its record, with its `ETag`; \
               or its history, without.",
        content: &[(JSON_TYPE, ""), ("application/octet-stream", "")],
        headers: READ_STAMPS,
    },
    Answer {
        status: 304,
        says: "The client has it already, or nothing has changed in time.",
        content: &[],
        headers: READ_STAMPS,
    },
];
const PUT: &[Answer] = &[
    Answer { status: 200, says: "Replaced.", content: &[(JSON_TYPE, "Put")], headers: KEY_STAMPS },
    Answer { status: 201, says: "Created.", content: &[(JSON_TYPE, "Put")], headers: KEY_STAMPS },
    Answer {
        status: 204,
        says: "Set, and no body was asked for.",
        content: &[],
        headers: KEY_STAMPS,
    },
];
const DELETED: &[Answer] = &[
    Answer { status: 200, says: "Deleted.", content: &[(JSON_TYPE, "Message")], headers: STAMPS },
    Answer {
        status: 204,
        says: "Deleted, and no body was asked for.",
        content: &[],
        headers: STAMPS,
    },
];

const GET_PROBLEMS: &[Kind] = &[KEY_NOT_FOUND, NOT_TEXT, TOO_MANY_WATCHES];
const PUT_PROBLEMS: &[Kind] =
    &[EMPTY_BODY, INVALID_JSON, DUPLICATE_KEY, JSON_TOO_DEEP, INVALID_VALUE];
const REQUIRED: &[Kind] = &[CONDITION_REQUIRED];
const BASE64: &[Kind] = &[BAD_BASE64];
const NOT_FOUND: &[Kind] = &[KEY_NOT_FOUND];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        path: "/key",
        method: "post",
        id: "setKeys",
        summary: "Set keys, all of them at one revision. The body is read as JSON whatever its type",
        parameters: &write::POST_PARAMETERS,
        headers: KEY_WRITE_HEADERS,
        body: Body::Json("Values"),
        answers: &[
            Answer {
                status: 200,
                says: "The body again, compact.",
                content: &[(JSON_TYPE, "Values")],
                headers: KEY_STAMPS,
            },
            Answer {
                status: 204,
                says: "Set, and no body was asked for.",
                content: &[],
                headers: KEY_STAMPS,
            },
        ],
        problems: &[
            BODY,
            JSON,
            KEY,
            CONDITION,
            REQUIRED,
            LEADER,
            LOG,
            LEASE,
            &[NO_DATA, INVALID_VALUE, JSON_TOO_DEEP, TOO_MANY_KEYS, KEY_EXISTS],
        ],
    },
    Operation {
        path: "/key/{key}",
        method: "get",
        id: "getKey",
        summary: "Read a key, wait until it changes, or read its history",
        parameters: &read::PARAMETERS,
        headers: READ_HEADERS,
        body: Body::None,
        answers: GOT,
        problems: &[KEY, CONDITION, READ, PAST, GET_PROBLEMS],
    },
    Operation {
        path: "/key/{key}",
        method: "put",
        id: "putKey",
        summary: "Set a key to the body",
        parameters: &write::PUT_PARAMETERS,
        headers: KEY_WRITE_HEADERS,
        body: Body::Bytes,
        answers: PUT,
        problems: &[BODY, KEY, CONDITION, REQUIRED, LEADER, LOG, LEASE, PUT_PROBLEMS],
    },
    Operation {
        path: "/key/{key}",
        method: "delete",
        id: "deleteKey",
        summary: "Delete a key",
        parameters: &write::DELETE_PARAMETERS,
        headers: KEY_WRITE_HEADERS,
        body: Body::None,
        answers: DELETED,
        problems: &[KEY, CONDITION, REQUIRED, LEADER, LOG, LEASE, NOT_FOUND],
    },
    Operation {
        path: "/key/",
        method: "get",
        id: "getKeyBase64",
        summary: "Read a key that cannot stand in a path",
        parameters: &read::PARAMETERS,
        headers: READ_HEADERS,
        body: Body::None,
        answers: GOT,
        problems: &[KEY, CONDITION, READ, PAST, GET_PROBLEMS, BASE64],
    },
    Operation {
        path: "/key/",
        method: "put",
        id: "putKeyBase64",
        summary: "Set a key that cannot stand in a path",
        parameters: &write::PUT_PARAMETERS,
        headers: KEY_WRITE_HEADERS,
        body: Body::Bytes,
        answers: PUT,
        problems: &[BODY, KEY, CONDITION, REQUIRED, LEADER, LOG, LEASE, PUT_PROBLEMS, BASE64],
    },
    Operation {
        path: "/key/",
        method: "delete",
        id: "deleteKeyBase64",
        summary: "Delete a key that cannot stand in a path",
        parameters: &write::DELETE_PARAMETERS,
        headers: KEY_WRITE_HEADERS,
        body: Body::None,
        answers: DELETED,
        problems: &[KEY, CONDITION, REQUIRED, LEADER, LOG, LEASE, NOT_FOUND, BASE64],
    },
];
