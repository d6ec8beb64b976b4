//! The OpenAPI document: it says what the server's own tables say. Beside this file, every answer
//! that any other test of the HTTP side gets is held against it (`http_support/documented.rs`).
#![cfg(not(madsim))]

mod http_support;

use http_support::{Node, documented::DOCUMENT};
use kvorum_runtime::http::{openapi, problem::CATALOGUE};
use serde_json::Value;
use std::collections::BTreeSet;

/// Every operation: path, method, description.
fn operations() -> Vec<(&'static str, &'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let of = |(path, item): (&'static String, &'static Value)| {
        let methods = item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters");
        methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    };
    paths.iter().flat_map(of).collect()
}

#[tokio::test]
async fn it_is_served() {
    let node = Node::leader().await;
    let answer = node.get("/openapi.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.json(), *DOCUMENT);
    assert_eq!(answer.json()["openapi"], "3.1.0");
    assert_eq!(answer.json()["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn every_path_has_exactly_the_methods_that_it_takes() {
    let mut documented = BTreeSet::new();
    for (path, method, _) in operations() {
        documented.insert((path, method.to_ascii_uppercase()));
    }
    let mut taken = BTreeSet::new();
    for (path, allow) in openapi::routes() {
        taken.extend(allow.split(", ").map(|method| (path, method.to_owned())));
    }
    assert_eq!(documented, taken);
}

#[tokio::test]
async fn every_parameter_is_known_to_the_server_and_no_other() {
    let node = Node::leader().await;
    for (path, method, operation) in operations() {
        if matches!(method, "options" | "head") {
            continue;
        }
        let path = path.replace("{key}", "k").replace("{id}", "1").replace("{name}", "n");
        let path = path.replace("{member}", "m");
        let path = format!("{path}?nonsense");
        let answer = node.call(&method.to_ascii_uppercase(), &path, "{}").await;
        let problem = answer.assert_problem(400, "unknown_parameter");
        // Far from every name, it is told all of them.
        let hint = problem["hint"].as_str().unwrap();
        let names = hint.strip_prefix("this call takes ").unwrap();
        let mut taken: BTreeSet<&str> =
            names.split(", ").filter(|n| *n != "no parameters").collect();
        if path.starts_with("/key/k") {
            assert!(taken.remove("b64"), "the key is in the path or in b64");
        }
        let parameters = operation["parameters"].as_array().unwrap();
        let query = parameters.iter().filter(|one| one["in"] == "query");
        let documented: BTreeSet<&str> = query.map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(documented, taken, "{method} {path}");
    }
}

#[test]
fn every_problem_stands_where_it_can_happen() {
    // Answers to what no operation is, and what is told within a stream.
    let mut met: BTreeSet<&str> = ["unknown_path", "method_not_allowed", "slow_watcher"].into();
    for (path, method, operation) in operations() {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let schema = &response["content"]["application/problem+json"]["schema"];
            let codes = schema["allOf"][1]["properties"]["code"]["enum"].as_array();
            for code in codes.into_iter().flatten() {
                let code = code.as_str().unwrap();
                let kind = CATALOGUE.iter().find(|kind| kind.code == code).expect(code);
                assert_eq!(kind.status.to_string(), *status, "{method} {path} {code}");
                met.insert(code);
            }
        }
    }
    let known: BTreeSet<&str> = CATALOGUE.iter().map(|kind| kind.code).collect();
    assert_eq!(met, known);
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_used() {
    let mut named = BTreeSet::new();
    references(&DOCUMENT, &mut named);
    let schemas = DOCUMENT["components"]["schemas"].as_object().unwrap();
    let there: BTreeSet<&str> = schemas.keys().map(String::as_str).collect();
    assert_eq!(named, there);
    let ids: Vec<&str> =
        operations().iter().map(|(_, _, one)| one["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "ids are unique");
}

fn references(value: &'static Value, named: &mut BTreeSet<&'static str>) {
    match value {
        Value::Object(members) => {
            if let Some(name) = members.get("$ref").and_then(Value::as_str) {
                named.insert(name.strip_prefix("#/components/schemas/").expect(name));
            }
            members.values().for_each(|member| references(member, named));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, named)),
        _ => {}
    }
}
