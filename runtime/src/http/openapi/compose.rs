//! The document out of the tables.
//!
//! Rule: `HEAD` is `GET` without a body, `OPTIONS` is everywhere, and what can go wrong is listed
//! by status with its codes. Must never: leave out what a table says.

use super::{
    Answer, Body, Operation, SCHEMAS,
    groups::{self, JSON_TYPE},
    operations,
    parameters::{self, PATH, QUERY, REQUEST, RESPONSE, Value as Entry},
};
use crate::http::{
    problem::{CONTENT_TYPE, Kind},
    route::Route,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The whole document.
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    for path in Route::templates() {
        let mut item = Map::new();
        if let Some(list) = in_path(path) {
            item.insert("parameters".to_owned(), list);
        }
        for operation in operations().filter(|operation| operation.path == path) {
            item.insert(operation.method.to_owned(), written(operation));
            if operation.method == "get" {
                item.insert("head".to_owned(), head(operation));
            }
        }
        item.insert("options".to_owned(), options(path));
        paths.insert(path.to_owned(), Value::Object(item));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "kvorum",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A replicated key-value server.",
            "description": "Any node answers any call. Every error is a problem object with a \
                stable `code` (docs/errors.md). Bytes that are not HTTP (400), request lines beyond \
                64 KiB (414) and heads far beyond the limit (431) are refused without a body.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": schema(SCHEMAS)},
    })
}

fn written(operation: &Operation) -> Value {
    let mut out = Map::new();
    out.insert("operationId".to_owned(), json!(operation.id));
    out.insert("summary".to_owned(), json!(operation.summary));
    out.insert("parameters".to_owned(), asked(operation));
    match operation.body {
        Body::None => {}
        Body::Json(name) => {
            let body = json!({"required": true, "content": {JSON_TYPE: {"schema": named(name)}}});
            out.insert("requestBody".to_owned(), body);
        }
        Body::Perhaps(name) => {
            let body = json!({"required": false, "content": {JSON_TYPE: {"schema": named(name)}}});
            out.insert("requestBody".to_owned(), body);
        }
        Body::Bytes => {
            let body = json!({"required": false, "content": {
                "application/octet-stream": {"schema": {}},
                JSON_TYPE: {"schema": {"not": {"type": "null"}}},
            }});
            out.insert("requestBody".to_owned(), body);
        }
    }
    let mut responses = Map::new();
    for answer in operation.answers {
        responses.insert(answer.status.to_string(), success(answer, true));
    }
    let common = [groups::HEAD, groups::QUERY];
    failures(&mut responses, operation.problems.iter().chain(&common), true);
    out.insert("responses".to_owned(), Value::Object(responses));
    Value::Object(out)
}

fn head(get: &Operation) -> Value {
    let mut responses = Map::new();
    for answer in get.answers {
        responses.insert(answer.status.to_string(), success(answer, false));
    }
    let common = [groups::HEAD, groups::QUERY];
    failures(&mut responses, get.problems.iter().chain(&common), false);
    json!({
        "operationId": format!("{}Head", get.id),
        "summary": format!("{}: the headers alone", get.summary),
        "parameters": asked(get),
        "responses": responses,
    })
}

fn options(path: &str) -> Value {
    let mut responses = Map::new();
    let answer = Answer {
        status: 204,
        says: "The methods are in `Allow`.",
        content: &[],
        headers: &["Allow"],
    };
    responses.insert("204".to_owned(), success(&answer, false));
    failures(&mut responses, [groups::HEAD].iter(), true);
    json!({
        "operationId": format!("options{}", path.replace(|c: char| !c.is_alphanumeric(), "_")),
        "summary": "Which methods the path takes",
        "responses": responses,
    })
}

/// The variable parts of `path`.
fn in_path(path: &str) -> Option<Value> {
    let names = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let list: Vec<Value> =
        names.map(|name| parameter(parameters::find(PATH, name), "path", true)).collect();
    (!list.is_empty()).then_some(Value::Array(list))
}

/// Query and headers of a request.
fn asked(operation: &Operation) -> Value {
    // A key stands in the path or in `b64`, and `/key/` is the path of the latter.
    let in_query = operation.path == "/key/";
    let query = operation.parameters.iter().filter(|name| **name != "b64" || in_query);
    let query = query.map(|name| parameter(parameters::find(QUERY, name), "query", *name == "b64"));
    let headers = operation.headers.iter();
    let headers = headers.map(|name| parameter(parameters::find(REQUEST, name), "header", false));
    Value::Array(query.chain(headers).collect())
}

fn parameter(entry: &Entry, place: &str, required: bool) -> Value {
    let mut out = json!({
        "name": entry.name,
        "in": place,
        "required": required,
        "description": entry.says,
        "schema": schema(entry.schema),
    });
    if place == "query" {
        out["allowEmptyValue"] = json!(entry.schema.contains("\"\""));
    }
    out
}

fn success(answer: &Answer, with_body: bool) -> Value {
    let mut headers = Map::new();
    for name in answer.headers.iter().chain(&["Kvorum-Served-By", "Server-Timing"]) {
        headers.insert((*name).to_owned(), header(name));
    }
    let mut out = json!({"description": answer.says, "headers": headers});
    if with_body && !answer.content.is_empty() {
        let content = answer.content.iter();
        let content = content.map(|(media, name)| {
            let schema = if name.is_empty() { json!({}) } else { named(name) };
            ((*media).to_owned(), json!({"schema": schema}))
        });
        out["content"] = Value::Object(content.collect());
    }
    out
}

fn header(name: &str) -> Value {
    let entry = parameters::find(RESPONSE, name);
    json!({"description": entry.says, "required": true, "schema": schema(entry.schema)})
}

/// Adds what can go wrong, by status.
fn failures<'k>(
    responses: &mut Map<String, Value>,
    groups: impl Iterator<Item = &'k &'static [Kind]>,
    with_body: bool,
) {
    let mut by_status: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
    for kind in groups.flat_map(|group| group.iter()) {
        let kinds = by_status.entry(kind.status).or_default();
        if !kinds.contains(kind) {
            kinds.push(*kind);
        }
    }
    for (status, kinds) in by_status {
        let codes: Vec<&str> = kinds.iter().map(|kind| kind.code).collect();
        let lines: Vec<String> =
            kinds.iter().map(|kind| format!("`{}`: {}", kind.code, kind.title)).collect();
        let says = lines.join("; ");
        let mut out = match responses.remove(&status.to_string()) {
            None if matches!(status, 429 | 503) => {
                json!({"description": says, "headers": {"Retry-After": header("Retry-After")}})
            }
            None => json!({"description": says}),
            // A probe says 503 in words of its own as well.
            Some(mut answer) => {
                let own = answer["description"].as_str().unwrap_or("").to_owned();
                answer["description"] = json!(format!("{own} {says}"));
                answer
            }
        };
        if with_body {
            let known = json!({"properties": {"code": {"enum": codes}}});
            out["content"][CONTENT_TYPE] = json!({"schema": {"allOf": [named("Problem"), known]}});
        }
        responses.insert(status.to_string(), out);
    }
}

fn named(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// The tables' JSON is read in every test of the document.
fn schema(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("a schema: {error} in {text}"))
}
