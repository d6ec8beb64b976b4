//! Requests of clients, by route, method and status.
//!
//! Rule: all series exist from the start in one table, so that counting is an addition at a place
//! that is computed; only what has happened is shown. Must never: keep a label that a client can
//! choose.

use super::{
    cell::{Counter, Gauge, Histogram},
    page::Page,
};
use crate::http::{
    problem::CATALOGUE,
    route::{LABELS, METHODS},
};
use std::{fmt, time::Duration};

/// Statuses that answers have, in order; others count as "other".
const STATUSES: [(u16, &str); 27] = [
    (200, "200"),
    (201, "201"),
    (204, "204"),
    (206, "206"),
    (304, "304"),
    (400, "400"),
    (404, "404"),
    (405, "405"),
    (406, "406"),
    (408, "408"),
    (409, "409"),
    (410, "410"),
    (412, "412"),
    (413, "413"),
    (414, "414"),
    (415, "415"),
    (416, "416"),
    (421, "421"),
    (422, "422"),
    (429, "429"),
    (431, "431"),
    (500, "500"),
    (501, "501"),
    (503, "503"),
    (504, "504"),
    (505, "505"),
    (507, "507"),
];
const CODES: usize = STATUSES.len() + 1;

/// What is counted of requests.
#[derive(Debug)]
pub struct HttpMetrics {
    /// By route, method and status.
    requests: Box<[Counter]>,
    /// By route.
    durations: Box<[Histogram]>,
    /// By the code of the problem, in the order of the catalogue.
    problems: Box<[Counter]>,
    /// Requests whose client left before the answer.
    abandoned: Counter,
    /// Requests under way.
    in_flight: Gauge,
    /// Requests passed on to the leader.
    pub forwarded: Counter,
    /// Open connections.
    pub connections: Gauge,
    /// Connections beyond the limit.
    pub refused_connections: Counter,
}

/// A request under way. Counts as abandoned unless it is told how it ended.
#[derive(Debug)]
pub struct InFlight<'m>(&'m HttpMetrics, bool);

impl Default for HttpMetrics {
    fn default() -> HttpMetrics {
        let counters = |count: usize| (0..count).map(|_| Counter::default()).collect();
        HttpMetrics {
            requests: counters(LABELS.len() * METHODS.len() * CODES),
            durations: LABELS.iter().map(|_| Histogram::of_times()).collect(),
            problems: counters(CATALOGUE.len()),
            abandoned: Counter::default(),
            in_flight: Gauge::default(),
            forwarded: Counter::default(),
            connections: Gauge::default(),
            refused_connections: Counter::default(),
        }
    }
}

impl HttpMetrics {
    /// A request begins.
    #[must_use]
    pub fn begin(&self) -> InFlight<'_> {
        self.in_flight.up();
        InFlight(self, false)
    }

    /// A request was answered by a problem of this code.
    pub fn problem(&self, code: &str) {
        if let Some(place) = CATALOGUE.iter().position(|kind| kind.code == code) {
            self.problems[place].one();
        }
    }

    /// Requests under way now.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.get()
    }

    /// Writes all of it.
    pub(super) fn show(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        page.counters(
            "kvorum_http_requests",
            "Requests answered, by route, method and status",
            self.series(),
        )?;
        let durations = LABELS
            .iter()
            .zip(&self.durations)
            .filter(|(_, durations)| durations.read().1 > 0)
            .map(|(route, durations)| ([("route", *route)], durations));
        page.time_histograms(
            "kvorum_http_request_duration",
            "Time from a request's head to its answer's head, by route; waiting for a change included",
            durations,
        )?;
        let problems = CATALOGUE
            .iter()
            .zip(&self.problems)
            .filter(|(_, count)| count.get() > 0)
            .map(|(kind, count)| ([("code", kind.code)], count.get()));
        page.counters(
            "kvorum_http_problems",
            "Requests answered by an error, by its code in docs/errors.md",
            problems,
        )?;
        page.counter(
            "kvorum_http_abandoned",
            "Requests whose client left before the answer",
            self.abandoned.get(),
        )?;
        page.counter(
            "kvorum_http_forwarded",
            "Requests passed on to the leader",
            self.forwarded.get(),
        )?;
        page.gauge("kvorum_http_in_flight", "Requests under way", self.in_flight.get())?;
        page.gauge("kvorum_http_connections", "Open client connections", self.connections.get())?;
        page.counter(
            "kvorum_http_connections_refused",
            "Client connections beyond KVORUM_MAX_CONNECTIONS",
            self.refused_connections.get(),
        )
    }

    fn series(&self) -> impl Iterator<Item = ([(&'static str, &'static str); 3], u64)> {
        self.requests.iter().enumerate().filter(|(_, count)| count.get() > 0).map(
            |(place, count)| {
                let (rest, code) = (place / CODES, place % CODES);
                let (route, method) = (rest / METHODS.len(), rest % METHODS.len());
                let code = STATUSES.get(code).map_or("other", |(_, text)| *text);
                let labels =
                    [("route", LABELS[route]), ("method", METHODS[method]), ("code", code)];
                (labels, count.get())
            },
        )
    }
}

impl InFlight<'_> {
    /// It was answered. `route` and `method` are places in `LABELS` and `METHODS`.
    pub fn end(mut self, route: usize, method: usize, status: u16, took: Duration) {
        self.1 = true;
        let code = STATUSES.binary_search_by_key(&status, |known| known.0);
        let code = code.unwrap_or(STATUSES.len());
        self.0.requests[(route * METHODS.len() + method) * CODES + code].one();
        self.0.durations[route].observe_time(took);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.down();
        if !self.1 {
            self.0.abandoned.one();
        }
    }
}
