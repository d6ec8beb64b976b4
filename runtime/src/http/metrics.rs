//! `GET /metrics`: what the node counts, for Prometheus.
//!
//! Rule: answered from what is there; the driver is asked and waited for a moment only, so that a
//! node that is stuck can still be looked at. Must never: touch the state machine's lane.

use super::{
    Api, Reply,
    params::Params,
    problem::{INTERNAL, Problem},
    read::json,
};
use crate::{
    handle::Phase,
    metrics::{Format, Scrape, Waiting},
    report::Report,
    world::World,
};
use hyper::{
    HeaderMap,
    header::{self, HeaderValue},
    http::request::Parts,
};
use std::{sync::Arc, time::Duration};

/// How long the driver has to say how the node stands.
pub(super) const REPORT_PATIENCE: Duration = Duration::from_secs(1);

impl<W: World> Api<W> {
    /// Answers `GET /metrics`.
    pub(super) async fn get_metrics(&self, head: &Parts) -> Result<Reply, Problem> {
        Params::parse(head.uri.query(), &[])?;
        let format = wanted(&head.headers);
        let limit = |name, depth: u64, limit| Waiting {
            name,
            depth: usize::try_from(depth).unwrap_or(usize::MAX),
            limit,
        };
        let watch = self.handle.hub().report();
        let connections = self.handle.metrics().http.connections.get();
        let scrape = Scrape {
            now: self.world.now(),
            metrics: Arc::clone(self.handle.metrics()),
            view: self.handle.view().get(),
            report: self.report().await,
            watch,
            queues: vec![
                self.handle.waiting(),
                limit("connections", connections, self.limits.connections),
                limit("watches", watch.open as u64, self.limits.watches),
            ],
            usage: self.world.usage(),
        };
        let page = scrape.page(format).map_err(|error| {
            Problem::new(INTERNAL, format!("the page of metrics cannot be written: {error}"))
        })?;
        let mut reply = json(page, HeaderMap::new());
        let content_type = HeaderValue::from_static(format.content_type());
        reply.headers_mut().insert(header::CONTENT_TYPE, content_type);
        Ok(reply)
    }

    /// How the node stands inside, unless its driver is not there or does not answer.
    pub(super) async fn report(&self) -> Option<Report> {
        if self.handle.view().get().phase == Phase::Joining {
            return None;
        }
        self.until(self.deadline(REPORT_PATIENCE), self.handle.report()).await.flatten()
    }
}

/// OpenMetrics for those who ask for it by name, else Prometheus text.
fn wanted(headers: &HeaderMap) -> Format {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let open = accepted
        .flat_map(|value| value.split(','))
        .any(|one| one.trim().starts_with("application/openmetrics-text"));
    if open { Format::OpenMetrics } else { Format::Prometheus }
}
