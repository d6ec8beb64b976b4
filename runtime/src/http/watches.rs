//! `GET /watches`: who watches what on this node, and how far behind each is.
//!
//! Rule: those that lag most come first, and at most `MOST` are shown. Must never: hold the watches
//! up while the answer is written.

use super::{
    Api, Reply,
    params::{Params, invalid},
    problem::Problem,
    read::json,
    record,
};
use crate::{watch::SeatReport, world::World};
use hyper::{HeaderMap, http::request::Parts};
use kvorum_core::kv::KeyRange;

/// What it takes.
pub(super) const PARAMETERS: [&str; 1] = ["limit"];
/// Watches shown.
const MOST: u64 = 1_000;

impl<W: World> Api<W> {
    /// Answers `GET /watches`.
    pub(super) fn get_watches(&self, head: &Parts) -> Result<Reply, Problem> {
        let params = Params::parse(head.uri.query(), &PARAMETERS)?;
        let limit = params.number("limit")?.unwrap_or(MOST);
        if !(1..=MOST).contains(&limit) {
            return Err(invalid("limit", &limit.to_string(), "a number from 1 to 1000"));
        }
        let (revision, mut seats) = self.handle.hub().seats();
        let count = seats.len();
        seats.sort_by_key(|seat| (std::cmp::Reverse(seat.lag), seat.id));
        seats.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let mut text = format!("{{\"revision\":{revision},\"count\":{count},\"watches\":[");
        for (place, seat) in seats.iter().enumerate() {
            if place > 0 {
                text.push(',');
            }
            push(&mut text, seat);
        }
        text.push_str("]}");
        Ok(json(text, HeaderMap::new()))
    }
}

fn push(text: &mut String, seat: &SeatReport) {
    text.push_str(&format!("{{\"id\":{},", seat.id));
    match &seat.range {
        KeyRange::One(key) => record::push_text(text, "key", key),
        KeyRange::Between { start, end } => {
            record::push_text(text, "start", start);
            if let Some(end) = end {
                text.push(',');
                record::push_text(text, "end", end);
            }
        }
    }
    text.push_str(&format!(
        ",\"told\":{},\"lag\":{},\"queued\":{},\"queued_bytes\":{}}}",
        seat.told, seat.lag, seat.queued, seat.queued_bytes
    ));
}
