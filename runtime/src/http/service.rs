//! One request, one answer.
//!
//! Rule: whatever goes wrong is told as a problem; every answer names the node that gave it. Must
//! never: let a request end without an answer.

use super::{
    Api, Reply,
    body::Payload,
    problem::{HEADER_TOO_LARGE, METHOD_NOT_ALLOWED, Problem, UNKNOWN_PATH},
    route::{Route, method_place},
};
use crate::{config::Limits, handle::MemberChange, world::World};
use hyper::{
    Method, Request, StatusCode, Version,
    body::{Body, Incoming},
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};
use std::{sync::Arc, time::Duration};

/// The node that gave the answer.
const SERVED_BY: HeaderName = HeaderName::from_static("kvorum-served-by");
/// How long it took here.
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

impl<W: World> Api<W> {
    /// Answers `request`.
    pub(super) async fn respond(self: &Arc<Self>, request: Request<Incoming>) -> Reply {
        let started = self.world.now();
        let metrics = self.handle.metrics();
        let under_way = metrics.http.begin();
        let (head, body) = request.into_parts();
        let route = Route::of(head.uri.path());
        let mut payload = Payload::new(&head, body);
        let mut reply = match self.dispatch(route, &head, &mut payload).await {
            Ok(reply) => reply,
            Err(problem) => self.tell(&head, problem),
        };
        let close = payload.release(&self.world) && head.version <= Version::HTTP_11;
        let took = self.world.now().since(started);
        self.finish(&head, &mut reply, took, close);
        let (route, method) = (Route::place(route), method_place(&head.method));
        under_way.end(route, method, reply.status().as_u16(), took);
        reply
    }

    async fn dispatch(
        self: &Arc<Self>,
        route: Option<Route<'_>>,
        head: &Parts,
        payload: &mut Payload,
    ) -> Result<Reply, Problem> {
        check_head(head, &self.limits)?;
        let Some(route) = route else {
            return Err(unknown_path(head.uri.path()));
        };
        // A HEAD is a GET whose body `finish` withholds (RFC 9110 §9.3.2).
        let method = if head.method == Method::HEAD { &Method::GET } else { &head.method };
        match (route, method) {
            (route, &Method::OPTIONS) => Ok(options(route)),
            (Route::Keys, &Method::POST) => self.post_keys(head, payload).await,
            (Route::Key(key), &Method::GET) => self.get_key(head, key).await,
            (Route::Key(key), &Method::PUT) => self.put_key(head, key, payload).await,
            (Route::Key(key), &Method::DELETE) => self.delete_key(head, key).await,
            (Route::Range, &Method::GET) => self.get_keys(head).await,
            (Route::Range, &Method::DELETE) => self.delete_keys(head).await,
            (Route::Txn, &Method::POST) => self.post_txn(head, payload).await,
            (Route::Watch, &Method::GET) => self.get_watch(head).await,
            (Route::NewLease, &Method::POST) => self.grant_lease(head, payload).await,
            (Route::Lease(id), &Method::GET) => self.get_lease(head, id).await,
            (Route::Lease(id), &Method::DELETE) => self.revoke_lease(head, id).await,
            (Route::KeepAlive(id), &Method::POST) => self.keep_lease_alive(head, id).await,
            (Route::Leases, &Method::GET) => self.get_leases(head).await,
            (Route::Lock(name), &Method::GET) => self.get_lock(head, name).await,
            (Route::Lock(name), &Method::POST) => self.acquire_lock(head, name, payload).await,
            (Route::Lock(name), &Method::DELETE) => self.release_lock(head, name).await,
            (Route::Join, &Method::POST) => self.join(head, payload).await,
            (Route::Cluster, &Method::GET) => self.get_cluster(head).await,
            (Route::Member(name), &Method::DELETE) => {
                self.change_member(head, name, MemberChange::Remove).await
            }
            (Route::Promote(name), &Method::POST) => {
                self.change_member(head, name, MemberChange::Promote).await
            }
            (Route::Demote(name), &Method::POST) => {
                self.change_member(head, name, MemberChange::Demote).await
            }
            (Route::Settings, &Method::GET) => self.get_settings(head).await,
            (Route::Settings, &Method::PATCH) => self.patch_settings(head, payload).await,
            (Route::Compact, &Method::POST) => self.compact(head, payload).await,
            (Route::Watches, &Method::GET) => self.get_watches(head),
            (Route::Transfer, &Method::POST) => self.transfer(head, payload).await,
            (Route::Status, &Method::GET) => self.status(head),
            (Route::Health, &Method::GET) => self.health(head),
            (Route::Livez, &Method::GET) => self.livez(head),
            (Route::Readyz, &Method::GET) => self.readyz(head).await,
            (Route::Version, &Method::GET) => self.version(head),
            (Route::OpenApi, &Method::GET) => self.openapi(head),
            (Route::Metrics, &Method::GET) => self.get_metrics(head).await,
            (route, _) => Err(not_allowed(route, head)),
        }
    }

    fn tell(&self, head: &Parts, problem: Problem) -> Reply {
        let instance = format!("req-{:016x}", self.world.entropy());
        self.handle.metrics().http.problem(problem.kind().code);
        let mutating = !matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS);
        if problem.kind().status >= 500 {
            tracing::info!(
                instance,
                method = %head.method,
                path = head.uri.path(),
                code = problem.kind().code,
                "request failed: {}",
                problem.message(),
            );
        }
        problem.respond(&instance, mutating)
    }

    fn finish(&self, head: &Parts, reply: &mut Reply, took: Duration, close: bool) {
        if !reply.headers().contains_key(SERVED_BY)
            && let Ok(name) = HeaderValue::from_str(&self.handle.view().get().me.name)
        {
            reply.headers_mut().insert(SERVED_BY, name);
        }
        let took = took.as_micros();
        let timing = format!("total;dur={}.{:03}", took / 1000, took % 1000);
        if let Ok(timing) = HeaderValue::from_str(&timing) {
            reply.headers_mut().insert(SERVER_TIMING, timing);
        }
        if close {
            reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if head.method == Method::HEAD {
            // A stream has no length to tell.
            let length = reply.body().size_hint().exact();
            *reply.body_mut() = Default::default();
            let bodiless =
                matches!(reply.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
            if let Some(length) = length.filter(|_| !bodiless) {
                reply.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
        }
    }
}

/// hyper refuses a head of twice the limit by itself, without a body.
fn check_head(head: &Parts, limits: &Limits) -> Result<(), Problem> {
    let target = head.uri.path_and_query().map_or(0, |path| path.as_str().len());
    let fields: usize =
        head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let size = target + fields;
    if size > limits.header_bytes {
        let message =
            format!("the request's head has {size} bytes, the limit is {}", limits.header_bytes);
        return Err(Problem::new(HEADER_TOO_LARGE, message));
    }
    Ok(())
}

fn options(route: Route<'_>) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = StatusCode::NO_CONTENT;
    reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static(route.allow()));
    reply
}

fn unknown_path(path: &str) -> Problem {
    let paths: Vec<&str> = Route::templates().collect();
    Problem::new(UNKNOWN_PATH, format!("there is no path {path}"))
        .hint(format!("the paths are {}", paths.join(", ")))
}

fn not_allowed(route: Route<'_>, head: &Parts) -> Problem {
    let message = format!("{} does not take {}", head.uri.path(), head.method);
    let problem = Problem::new(METHOD_NOT_ALLOWED, message).header(header::ALLOW, route.allow());
    match route {
        Route::Keys => {
            problem.hint("one key is at /key/{key}, many are at /keys; POST /key sets keys")
        }
        Route::Key(_) if head.method == Method::POST => {
            problem.hint("PUT /key/{key} sets a key to the body; POST /key takes a JSON object")
        }
        _ => problem,
    }
}
