//! `GET /keys`: a range of keys in order, in pages or as one stream, at one revision.
//!
//! Rule: every page of a scan is of the revision of the first; a page is bounded by items and
//! bytes. Must never: hold more than a page, or mix two revisions.

use super::{
    Api, Content, Reply,
    content::Pieces,
    cursor::Cursor,
    json::{self, push_string},
    negotiate::wants_lines,
    params::{Params, invalid},
    problem::{INVALID_PARAMETER, NOT_TEXT, Problem},
    range,
    read::{Read, consistency_of, json as ok_json, least_revision, refused, stamps, told},
    record,
    staleness::staleness_of,
};
use crate::{
    handle::{Answer, Consistency},
    world::World,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hyper::{
    header::{self, HeaderValue},
    http::request::Parts,
};
use kvorum_core::kv::{Group, KeyRange, KeyValue, Query, QueryReply};
use std::{sync::Arc, time::Duration};

/// What `GET /keys` takes.
pub(super) const PARAMETERS: [&str; 14] = [
    "prefix",
    "start",
    "end",
    "limit",
    "reverse",
    "keys_only",
    "count_only",
    "delimiter",
    "at",
    "cursor",
    "format",
    "consistency",
    "max_staleness",
    "timeout",
];

/// Items of a page unless the client asks for fewer, and the most it may ask for.
const PAGE_ITEMS: u64 = 1000;
/// Bytes of keys and values of a page (one item always fits).
const PAGE_BYTES: u64 = 4 << 20;
/// Pages of a stream: small ones, so that little is held for a slow client.
const STREAM_ITEMS: u64 = 256;
const STREAM_BYTES: u64 = 256 << 10;

/// A scan as it was asked for.
#[derive(Debug, Clone)]
struct Scan {
    query: Query,
    consistency: Consistency,
    staleness: Option<Duration>,
    /// What the client knows the store to have reached.
    least: u64,
    timeout: Duration,
    /// What a cursor belongs to.
    identity: String,
    map: bool,
}

impl<W: World> Api<W> {
    /// Answers `GET` and `HEAD` of `/keys`.
    pub(super) async fn get_keys(self: &Arc<Self>, head: &Parts) -> Result<Reply, Problem> {
        let params = Params::parse(head.uri.query(), &PARAMETERS)?;
        let mut scan = Scan::parse(&params)?;
        scan.timeout = self.timeout(&params)?;
        scan.least = least_revision(&head.headers)?;
        if let Some(text) = params.get("cursor") {
            let cursor = Cursor::decode(text, scan.identity.as_bytes())?;
            scan.query.revision = cursor.revision;
            scan.query.range = range::after(&scan.query, &cursor.last);
        }
        if wants_lines(&head.headers) {
            return self.stream(scan, params.get("limit").is_some()).await;
        }
        let answer = self.page(&scan).await?;
        let mut headers = told(stamps(answer.applied, answer.revision), scan.consistency);
        let page = match answer.reply {
            Ok(page) => page,
            Err(error) => return Err(refused(error).headers(headers)),
        };
        let revision = scan.revision_of(&page);
        let next = (page.more && !scan.query.count_only).then(|| {
            let last = last_of(&page, scan.query.descending);
            Cursor { revision, last }.encode(scan.identity.as_bytes())
        });
        if let Some(next) = &next {
            let link = link(head.uri.query().unwrap_or(""), next);
            if let Ok(link) = HeaderValue::from_str(&link) {
                headers.insert(header::LINK, link);
            }
        }
        Ok(ok_json(scan.render(&page, revision, next.as_deref())?, headers))
    }

    async fn page(&self, scan: &Scan) -> Result<Answer, Problem> {
        let Scan { consistency, staleness, least, timeout, .. } = *scan;
        let query = scan.query.clone();
        self.read(&Read { query, consistency, staleness, least, timeout }).await
    }

    /// One JSON object per line, and a last line that says that nothing is missing.
    async fn stream(self: &Arc<Self>, mut scan: Scan, limited: bool) -> Result<Reply, Problem> {
        if scan.map || scan.query.count_only || scan.query.group.is_some() {
            let message = "a stream has neither format=map nor count_only nor delimiter";
            return Err(Problem::new(INVALID_PARAMETER, message));
        }
        let mut left = if limited { scan.query.limit } else { u64::MAX };
        scan.query.limit = left.min(STREAM_ITEMS);
        scan.query.max_bytes = STREAM_BYTES;
        let first = self.page(&scan).await?;
        let mut headers = told(stamps(first.applied, first.revision), scan.consistency);
        let mut page = match first.reply {
            Ok(page) => page,
            Err(error) => return Err(refused(error).headers(headers)),
        };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        scan.query.revision = scan.revision_of(&page);
        let (pieces, content) = Content::stream();
        let api = Arc::clone(self);
        tokio::spawn(async move {
            let mut count = 0;
            loop {
                count += page.items.len() as u64;
                left -= page.items.len() as u64;
                let end = !page.more || left == 0;
                if !send(&pieces, &page.items, scan.query.keys_only).await {
                    return;
                }
                if end {
                    let revision = scan.query.revision;
                    let more = page.more;
                    let line = format!(
                        "{{\"end\":true,\"revision\":{revision},\"count\":{count},\"more\":{more}}}\n"
                    );
                    pieces.send(line).await;
                    return;
                }
                let last = last_of(&page, scan.query.descending);
                scan.query.range = range::after(&scan.query, &last);
                scan.query.limit = left.min(STREAM_ITEMS);
                page = match api.next_page(&scan).await {
                    Ok(next) => next,
                    Err(problem) => {
                        let problem = problem.respond("", false);
                        let text = problem.body().whole().cloned().unwrap_or_default();
                        let text = String::from_utf8_lossy(&text).into_owned();
                        pieces.send(format!("{{\"end\":false,\"error\":{text}}}\n")).await;
                        return;
                    }
                };
            }
        });
        let mut reply = Reply::new(content);
        *reply.headers_mut() = headers;
        Ok(reply)
    }

    async fn next_page(&self, scan: &Scan) -> Result<QueryReply, Problem> {
        let answer = self.page(scan).await?;
        answer.reply.map_err(refused)
    }
}

impl Scan {
    fn parse(params: &Params) -> Result<Scan, Problem> {
        let limit = match params.number("limit")? {
            None => PAGE_ITEMS,
            Some(limit) if (1..=PAGE_ITEMS).contains(&limit) => limit,
            Some(other) => {
                return Err(invalid("limit", &other.to_string(), &format!("1 to {PAGE_ITEMS}")));
            }
        };
        let map = match params.get("format") {
            None | Some("items") => false,
            Some("map") => true,
            Some(other) => return Err(invalid("format", other, "items or map")),
        };
        let mut query = Query::of(range::range(params)?);
        query.revision = params.number("at")?.unwrap_or(0);
        query.limit = limit;
        query.max_bytes = PAGE_BYTES;
        query.descending = params.flag("reverse")?;
        query.keys_only = params.flag("keys_only")?;
        query.count_only = params.flag("count_only")?;
        if map && query.keys_only {
            return Err(Problem::new(INVALID_PARAMETER, "a map has values; drop keys_only"));
        }
        if params.get("cursor").is_some() && params.get("at").is_some() {
            return Err(Problem::new(INVALID_PARAMETER, "a cursor has its revision; drop at"));
        }
        if let Some(delimiter) = params.bytes("delimiter") {
            if delimiter.is_empty() {
                return Err(invalid("delimiter", "", "one byte or more, e.g. /"));
            }
            if query.count_only {
                let message = "count_only counts keys, not groups; drop delimiter";
                return Err(Problem::new(INVALID_PARAMETER, message));
            }
            let after = params.bytes("prefix").map_or(0, <[u8]>::len) as u64;
            let delimiter = Bytes::copy_from_slice(delimiter);
            query.group = Some(Group { after, delimiter });
        }
        let identity = format!("{:?} {} {:?}", query.range, query.descending, query.group);
        let consistency = consistency_of(params)?;
        let staleness = staleness_of(params, consistency)?;
        let (least, timeout) = (0, Duration::ZERO);
        Ok(Scan { query, consistency, staleness, least, timeout, identity, map })
    }

    /// The revision the scan is of.
    fn revision_of(&self, page: &QueryReply) -> u64 {
        if self.query.revision == 0 { page.revision } else { self.query.revision }
    }

    fn render(
        &self,
        page: &QueryReply,
        revision: u64,
        next: Option<&str>,
    ) -> Result<String, Problem> {
        if self.query.count_only {
            return Ok(format!("{{\"revision\":{revision},\"count\":{}}}", page.count));
        }
        let count = page.items.len() + page.groups.len();
        let mut out = format!("{{\"revision\":{revision},\"count\":{count},\"items\":");
        out.push(if self.map { '{' } else { '[' });
        for (position, item) in page.items.iter().enumerate() {
            if position > 0 {
                out.push(',');
            }
            if self.map {
                push_member(&mut out, item)?;
            } else {
                out.push_str(&record::record(item, !self.query.keys_only));
            }
        }
        out.push(if self.map { '}' } else { ']' });
        if self.query.group.is_some() {
            let groups: Vec<String> = page.groups.iter().map(|group| prefix_json(group)).collect();
            out.push_str(&format!(",\"prefixes\":[{}]", groups.join(",")));
        }
        if let Some(next) = next {
            out.push_str(",\"next\":");
            push_string(&mut out, next);
        }
        out.push('}');
        Ok(out)
    }
}

/// Where a page ends.
fn last_of(page: &QueryReply, descending: bool) -> Bytes {
    let ends = [page.items.last().map(|item| &item.key), page.groups.last()].into_iter().flatten();
    let last = if descending { ends.min() } else { ends.max() };
    last.cloned().unwrap_or_default()
}

/// A group's name as text, or an object that says that it is base64.
fn prefix_json(group: &[u8]) -> String {
    match std::str::from_utf8(group) {
        Ok(text) => json::string(text),
        Err(_) => format!("{{\"prefix_base64\":\"{}\"}}", STANDARD.encode(group)),
    }
}

fn push_member(out: &mut String, item: &KeyValue) -> Result<(), Problem> {
    let (Ok(key), Some(value)) = (std::str::from_utf8(&item.key), record::value_text(item)) else {
        let message = format!("key '{}' or its value is not text", super::key::shown(&item.key));
        return Err(Problem::new(NOT_TEXT, message).hint("ask without format=map"));
    };
    push_string(out, key);
    out.push(':');
    out.push_str(&value);
    Ok(())
}

async fn send(pieces: &Pieces, items: &[KeyValue], keys_only: bool) -> bool {
    let mut lines = String::new();
    for item in items {
        lines.push_str(&record::record(item, !keys_only));
        lines.push('\n');
    }
    lines.is_empty() || pieces.send(lines).await
}

/// The next page as a link (RFC 8288): the same query with another cursor, and without `at`, which
/// the cursor knows.
fn link(query: &str, next: &str) -> String {
    let kept = query.split('&').filter(|pair| {
        let name = pair.split('=').next().unwrap_or("");
        !pair.is_empty() && name != "cursor" && name != "at"
    });
    let mut out = String::from("</keys?");
    for pair in kept {
        out.push_str(pair);
        out.push('&');
    }
    out.push_str(&format!("cursor={next}>; rel=\"next\""));
    out
}

/// The keys that a `DELETE /keys` names; without bounds only with `all`.
pub(super) fn bounded_range(params: &Params) -> Result<KeyRange, Problem> {
    let all = params.flag("all")?;
    let named = ["prefix", "start", "end"].iter().any(|name| params.bytes(name).is_some());
    if named && all {
        return Err(Problem::new(INVALID_PARAMETER, "all stands together with bounds"));
    }
    let range = range::range(params)?;
    let unbounded = matches!(&range, KeyRange::Between { start, end: None } if start.is_empty());
    if unbounded && !all {
        let message = "this would delete every key";
        return Err(Problem::new(INVALID_PARAMETER, message)
            .hint("name the keys by prefix, or by start and end; ?all=true deletes everything"));
    }
    Ok(range)
}
