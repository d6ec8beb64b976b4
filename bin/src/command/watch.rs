//! `kvorum watch`.
//!
//! Rule: every change once, in order, across cut connections and dead nodes: it goes on right after
//! the last revision it has printed whole, and within a revision after the last change. Must
//! never: repeat a line, leave one out, or end without saying why.

use super::input::bytes;
use crate::{
    args::{Output, Reach, duration},
    client::{Call, Client, Failure, Target, problem},
    exit, show,
};
use bytes::BytesMut;
use clap::Args;
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    header::{ACCEPT, HeaderValue},
};
use serde_json::{Map, Value};
use std::{ffi::OsString, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// Bytes of one message; a node puts at most 1,024 changes into one.
const MAX_MESSAGE: usize = 256 << 20;
/// Pauses before connecting again, from … to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Print what changes, as it changes
///
/// Prints a line for each change: revision, put or delete, key, value, separated by tabs and
/// escaped as by ls; -o json prints a record a line. When the connection is lost it goes on at the
/// next endpoint, without a gap and without a repetition, until it is stopped. It ends with exit
/// code 3 when what it has not seen yet is compacted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    kvorum watch greeting\n  \
    kvorum watch --prefix jobs/ -o json\n  \
    kvorum watch --prefix jobs/ --since 17        # all changes after revision 17, then live\n  \
    kvorum watch --count 1 ready                  # wait for one change")]
pub struct Watch {
    /// The key; all keys when neither it nor a range is given
    #[arg(conflicts_with_all = ["prefix", "start", "end"])]
    key: Option<OsString>,
    /// Keys that begin so
    #[arg(long, conflicts_with_all = ["start", "end"])]
    prefix: Option<OsString>,
    /// Keys from this one on
    #[arg(long, value_name = "KEY")]
    start: Option<OsString>,
    /// Keys before this one
    #[arg(long, value_name = "KEY")]
    end: Option<OsString>,
    /// Begin right after this revision; from now on when not given
    #[arg(long, value_name = "REVISION")]
    since: Option<u64>,
    /// Print also what the key was before, as one more column
    #[arg(long)]
    prev: bool,
    /// End after so many changes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Connect again when nothing was heard for so long; a node speaks every 15 s
    #[arg(long, default_value = "45s", value_parser = duration, value_name = "DURATION")]
    silence: Duration,
    #[command(flatten)]
    pub reach: Reach,
}

/// How far the printing has come.
struct Position {
    /// Everything up to here is printed.
    since: Option<u64>,
    /// A revision of which so many changes are printed, and more are to come.
    open: (u64, usize),
    /// Changes of it that come again after connecting anew.
    skip: usize,
    /// How many changes may still be printed.
    left: u64,
}

/// Why a stream ended.
enum End {
    /// As many changes as were asked for.
    Enough,
    /// Go on elsewhere; this is why.
    Lost(String),
}

impl Watch {
    /// Does it.
    pub async fn run(self) -> Result<u8, Failure> {
        let client = self.reach.client()?;
        let base = Target::of("/watch")
            .maybe("key", self.key.clone().map(bytes))
            .maybe("prefix", self.prefix.clone().map(bytes))
            .maybe("start", self.start.clone().map(bytes))
            .maybe("end", self.end.clone().map(bytes))
            .flag("prev", self.prev);
        let mut position = Position {
            since: self.since,
            open: (0, 0),
            skip: 0,
            left: self.count.unwrap_or(u64::MAX),
        };
        let deadline = Instant::now() + self.reach.timeout;
        let mut begun = false;
        let mut pause = PAUSES.0;
        let mut failed = 0;
        loop {
            let target = base.clone().maybe("since", position.since.map(|it| it.to_string()));
            let call =
                Call::read(target).header(ACCEPT, HeaderValue::from_static("application/x-ndjson"));
            match self.connect(&client, &call).await {
                Ok(body) => {
                    (begun, failed, pause) = (true, 0, PAUSES.0);
                    let why = match self.follow(body, &mut position).await? {
                        End::Enough => return Ok(0),
                        End::Lost(why) => why,
                    };
                    let at = client.endpoint();
                    exit::say(&match position.since {
                        Some(since) => format!("{at}: {why}; going on after revision {since}"),
                        None => format!("{at}: {why}; connecting again"),
                    });
                    client.turn();
                }
                Err((failure, again)) => {
                    failed += 1;
                    // Who has never been connected has probably mistaken the address.
                    if !again || (!begun && Instant::now() >= deadline) {
                        return Err(failure);
                    }
                    if !begun && failed >= client.endpoints() && failure.code == "unreachable" {
                        return Err(failure);
                    }
                    client.turn();
                    if failed % client.endpoints() == 0 {
                        sleep(pause).await;
                        pause = PAUSES.1.min(pause * 2);
                    }
                }
            }
        }
    }

    /// Within its share of the timeout, so that a node that hangs does not use up all of it.
    async fn connect(&self, client: &Client, call: &Call) -> Result<Incoming, (Failure, bool)> {
        let share = client.timeout() / client.endpoints() as u32;
        let one = client.within(share.max(Duration::from_secs(1)).min(client.timeout()));
        one.open(call).await.map(hyper::Response::into_body)
    }

    /// Prints what comes until it ends.
    async fn follow(&self, mut body: Incoming, position: &mut Position) -> Result<End, Failure> {
        // What is printed of an open revision comes again.
        position.skip = position.open.1;
        let mut buffer = BytesMut::new();
        loop {
            let frame = match timeout(self.silence, body.frame()).await {
                Err(_) => return Ok(End::Lost(format!("silent for {:?}", self.silence))),
                Ok(None) => return Ok(End::Lost("the connection ended".to_owned())),
                Ok(Some(Err(_))) => return Ok(End::Lost("the connection broke".to_owned())),
                Ok(Some(Ok(frame))) => frame,
            };
            let Some(data) = frame.data_ref() else { continue };
            let mut searched = buffer.len();
            buffer.extend_from_slice(data);
            while let Some(end) = buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let message = buffer.split_to(searched + end + 1);
                searched = 0;
                if let Some(end) = self.message(&message, position)? {
                    return Ok(end);
                }
            }
            if buffer.len() > MAX_MESSAGE {
                return Err(Failure::strange("a message that does not end"));
            }
        }
    }

    fn message(&self, text: &[u8], position: &mut Position) -> Result<Option<End>, Failure> {
        let Ok(mut message) = serde_json::from_slice::<Value>(text) else {
            return Err(Failure::strange("a line that is not JSON"));
        };
        let mut data = message["data"].take();
        let revision = data["revision"].as_u64();
        match (message["event"].as_str(), revision) {
            (Some("sync"), Some(revision)) => {
                position.since = Some(revision);
                if self.reach.output == Output::Json {
                    show::line(format!("{{\"revision\":{revision},\"type\":\"sync\"}}"))?;
                }
            }
            (Some("progress"), Some(revision)) => position.since = Some(revision),
            (Some("change"), Some(revision)) => {
                let Value::Array(events) = data["events"].take() else {
                    return Err(Failure::strange("a change without events"));
                };
                let more = data["more"] == true;
                return self.changes(revision, events, more, position);
            }
            (Some("lag"), _) => {
                exit::say(&format!("too slow: {} revisions behind", data["behind"]));
            }
            (Some("error"), _) => return ended(&data),
            // What a later version adds is not for us.
            _ => {}
        }
        Ok(None)
    }

    fn changes(
        &self,
        revision: u64,
        events: Vec<Value>,
        more: bool,
        position: &mut Position,
    ) -> Result<Option<End>, Failure> {
        if position.open.0 != revision {
            (position.open, position.skip) = ((revision, 0), 0);
        }
        let mut text = String::new();
        for event in events {
            if position.skip > 0 {
                position.skip -= 1;
                continue;
            }
            self.push(&mut text, revision, event);
            position.open.1 += 1;
            position.left -= 1;
            if position.left == 0 {
                show::print(text)?;
                return Ok(Some(End::Enough));
            }
        }
        show::print(text)?;
        if !more {
            position.since = Some(revision);
            position.open = (0, 0);
        }
        Ok(None)
    }

    fn push(&self, out: &mut String, revision: u64, event: Value) {
        if self.reach.output == Output::Json {
            let mut record = Map::new();
            record.insert("revision".to_owned(), revision.into());
            if let Value::Object(members) = event {
                record.extend(members);
            }
            out.push_str(&Value::Object(record).to_string());
        } else {
            let kind = event["type"].as_str().unwrap_or("?");
            let key = show::escaped(&show::key_of(&event));
            out.push_str(&format!("{revision}\t{kind}\t{key}"));
            out.push('\t');
            out.push_str(&show::escaped(&show::value_of(&event)));
            if self.prev {
                out.push('\t');
                out.push_str(&show::escaped(&show::value_of(&event["previous"])));
            }
        }
        out.push('\n');
    }
}

/// What the node said when it ended the watch: go on elsewhere, or not at all.
fn ended(data: &Value) -> Result<Option<End>, Failure> {
    let text = data.to_string();
    let status = data["status"].as_u64().unwrap_or(500);
    let Some(problem) = problem(text.as_bytes()) else {
        return Ok(Some(End::Lost("the node ended the watch".to_owned())));
    };
    let passing = matches!(status, 408 | 429) || status >= 500;
    if passing {
        let why = problem["message"].as_str().unwrap_or("the node ended the watch");
        return Ok(Some(End::Lost(why.to_owned())));
    }
    let status = u16::try_from(status).ok().and_then(|it| hyper::StatusCode::from_u16(it).ok());
    Err(Failure::refused(status.unwrap_or_default(), text.as_bytes()))
}
