//! `GET /openapi.json`: the API for machines (OpenAPI 3.1).
//!
//! Rule: composed of the tables that the handlers themselves go by (paths, methods, parameters,
//! problems), so that it cannot say something else than they do. Must never: name a parameter, a
//! code or a status of an error as text of its own.

mod cluster;
mod compose;
mod groups;
mod keys;
mod leases;
mod many;
mod parameters;

use super::{
    Api, Reply,
    params::Params,
    problem::{Kind, Problem},
    read::json,
    route::Route,
};
use crate::world::World;
use bytes::Bytes;
use hyper::{HeaderMap, http::request::Parts};
use std::sync::OnceLock;

/// The shapes of bodies, as JSON Schema; each is named in an operation.
const SCHEMAS: &str = include_str!("schemas.json");

/// One method of one path.
struct Operation {
    /// As in the table of routes.
    path: &'static str,
    /// In lower case.
    method: &'static str,
    /// What generated clients call it.
    id: &'static str,
    /// One line.
    summary: &'static str,
    /// What the handler parses the query with.
    parameters: &'static [&'static str],
    /// Request headers that mean something to it.
    headers: &'static [&'static str],
    body: Body,
    answers: &'static [Answer],
    /// What can go wrong, in groups.
    problems: &'static [&'static [Kind]],
}

/// What is sent along.
enum Body {
    None,
    /// JSON of this schema.
    Json(&'static str),
    /// JSON of this schema, or nothing.
    Perhaps(&'static str),
    /// Any bytes; JSON if they say so.
    Bytes,
}

/// One way to succeed.
struct Answer {
    status: u16,
    says: &'static str,
    /// Media types and the schemas of their content; an empty name is any content.
    content: &'static [(&'static str, &'static str)],
    /// Response headers that are always there.
    headers: &'static [&'static str],
}

/// Every operation but `HEAD`, which follows from `GET`, and `OPTIONS`, which every path takes.
fn operations() -> impl Iterator<Item = &'static Operation> {
    let store = keys::OPERATIONS.iter().chain(many::OPERATIONS).chain(leases::OPERATIONS);
    store.chain(cluster::OPERATIONS)
}

/// The document, composed once.
#[must_use]
pub fn document() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| compose::document().to_string())
}

/// Every path the server answers, with its variable part in braces, and its `Allow` header.
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    Route::templates().filter_map(|path| Some((path, Route::of(path)?.allow())))
}

impl<W: World> Api<W> {
    /// Answers `GET /openapi.json`.
    pub(super) fn openapi(&self, head: &Parts) -> Result<Reply, Problem> {
        Params::parse(head.uri.query(), &[])?;
        Ok(json(Bytes::from_static(document().as_bytes()), HeaderMap::new()))
    }
}
