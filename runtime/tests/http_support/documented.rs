//! Every answer that any test gets is held against the OpenAPI document: its status, its code, its
//! media type, and the headers that the document promises.

use super::Res;
use kvorum_runtime::http::openapi;
use serde_json::Value;
use std::sync::LazyLock;

pub static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(openapi::document()).expect("the document is JSON"));

/// Fails when the document does not know of `res`.
#[track_caller]
pub fn check(method: &str, path: &str, res: &Res) {
    // hyper's own refusals: no body, and told of in the document's description.
    if matches!(res.status, 400 | 414 | 431) && res.header("content-type").is_none() {
        return;
    }
    let path = path.split('?').next().unwrap();
    let code = code(res);
    let Some(item) = item(path) else {
        // What is refused before the path is looked at, too.
        let of_any = matches!(res.status, 431 | 503);
        assert!(of_any || code.as_deref() == Some("unknown_path"), "{method} {path}: {res:?}");
        return;
    };
    let Some(operation) = item.get(method.to_ascii_lowercase()) else {
        let of_any = matches!(res.status, 431 | 503);
        assert!(
            of_any || code.as_deref() == Some("method_not_allowed"),
            "{method} {path}: {res:?}"
        );
        return;
    };
    let Some(known) = operation["responses"].get(res.status.to_string()) else {
        panic!("openapi: {method} {path} does not know the status {} ({code:?})", res.status);
    };
    for (name, header) in known["headers"].as_object().into_iter().flatten() {
        // A connection beyond the limit is turned away before anybody knows who we are.
        let promised = header["required"] == true && res.status != 503;
        assert!(!promised || res.header(name).is_some(), "{method} {path}: no {name}: {res:?}");
    }
    let Some(media) = res.header("content-type") else { return };
    if method == "HEAD" {
        return;
    }
    let content = &known["content"][media];
    assert!(content.is_object(), "openapi: {method} {path} {} is no {media}", res.status);
    if let Some(code) = code {
        let codes = content["schema"]["allOf"][1]["properties"]["code"]["enum"].as_array().unwrap();
        let known = codes.iter().any(|known| known == code.as_str());
        assert!(known, "openapi: {method} {path} {} does not know {code}", res.status);
    }
}

/// The code of a problem.
fn code(res: &Res) -> Option<String> {
    let problem = res.header("content-type") == Some("application/problem+json");
    if !problem || res.body.is_empty() {
        return None;
    }
    Some(res.json()["code"].as_str().unwrap_or("").to_owned())
}

/// The document's entry for `path`: the most exact of those that fit.
fn item(path: &str) -> Option<&'static Value> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let fitting = paths.iter().filter(|(template, _)| fits(template, path));
    fitting.max_by_key(|(template, _)| literal(template)).map(|(_, item)| item)
}

fn fits(template: &str, path: &str) -> bool {
    match (template.split_once('{'), template.rsplit_once('}')) {
        (Some((before, _)), Some((_, after))) => {
            let rest = path.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            // Keys and names of locks have slashes, ids have none.
            let slashes = !template.contains("{id}");
            rest.is_some_and(|middle| !middle.is_empty() && (slashes || !middle.contains('/')))
        }
        _ => template == path,
    }
}

fn literal(template: &str) -> usize {
    let variable = template.find('}').unwrap_or(0) - template.find('{').unwrap_or(0);
    template.len() - variable
}
