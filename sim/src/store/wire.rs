//! How a request is written in HTTP.
//!
//! Rule: as the API's documents show it. Must never: leave out anything that the request says.

use super::request::{Attach, Bounds, Condition, Guard, Op, Relation, Request, Scan, Test, Txn};
use serde_json::{Map, Value as Json, json};

/// A request as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The method.
    pub method: &'static str,
    /// Path and query.
    pub target: String,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

impl Request {
    /// As it is sent; the server is to give up after `timeout` milliseconds.
    #[must_use]
    pub fn sent(&self, timeout: u64) -> Sent {
        let sent = |method, target: String, body: String| Sent {
            method,
            target,
            headers: Vec::new(),
            body,
        };
        let key = |key: &str| encode(key);
        match self {
            Request::Txn(txn) => {
                sent("POST", format!("/txn?timeout={timeout}ms"), txn.json().to_string())
            }
            Request::Post { pairs, condition } => {
                let object: Map<String, Json> =
                    pairs.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
                let body = Json::Object(object).to_string();
                condition.on(sent("POST", format!("/key?timeout={timeout}ms"), body))
            }
            Request::Put { key: name, value, condition, attach } => {
                let attach = match attach {
                    Attach::Nothing => String::new(),
                    Attach::Lease(id) => format!("&lease={id}"),
                    Attach::Ttl(ttl) => format!("&ttl={ttl}ms"),
                };
                let target = format!("/key/{}?timeout={timeout}ms{attach}", key(name));
                condition.on(sent("PUT", target, value.clone()))
            }
            Request::Delete { key: name, condition } => {
                let target = format!("/key/{}?timeout={timeout}ms", key(name));
                condition.on(sent("DELETE", target, String::new()))
            }
            Request::DeleteRange { prefix } => {
                let target = format!("/keys?prefix={}&timeout={timeout}ms", key(prefix));
                sent("DELETE", target, String::new())
            }
            Request::Get { key: name, at, stale } => {
                let mut target = format!("/key/{}?meta&timeout={timeout}ms", key(name));
                if let Some(at) = at {
                    target.push_str(&format!("&at={at}"));
                }
                let mut sent = sent("GET", target, String::new());
                if let Some(least) = stale {
                    sent.target.push_str("&consistency=stale");
                    sent.headers.push(("kvorum-min-revision", least.to_string()));
                }
                sent
            }
            Request::Scan(scan) => sent("GET", scan.target(timeout), String::new()),
            Request::Wait { key: name, since, patience } => {
                let target = format!(
                    "/key/{}?meta&wait={patience}ms&since={since}&timeout={timeout}ms",
                    key(name)
                );
                sent("GET", target, String::new())
            }
            Request::Grant { id, ttl } => {
                let body = json!({"id": id.to_string(), "ttl": format!("{ttl}ms")}).to_string();
                sent("POST", format!("/lease?timeout={timeout}ms"), body)
            }
            Request::KeepAlive { id } => {
                let target = format!("/lease/{id}/keepalive?timeout={timeout}ms");
                sent("POST", target, String::new())
            }
            Request::Revoke { id } => {
                sent("DELETE", format!("/lease/{id}?timeout={timeout}ms"), String::new())
            }
            Request::Lock { name, ttl, wait, note } => {
                let target =
                    format!("/lock/{}?ttl={ttl}ms&wait={wait}ms&timeout={timeout}ms", key(name));
                sent("POST", target, note.clone())
            }
            Request::Unlock { name, token } => {
                let target = format!("/lock/{}?token={token}&timeout={timeout}ms", key(name));
                sent("DELETE", target, String::new())
            }
            Request::Compact { revision } => {
                let body = json!({"revision": revision}).to_string();
                sent("POST", format!("/compact?timeout={timeout}ms"), body)
            }
            Request::Fenced { name, token, request } => {
                let mut sent = request.sent(timeout);
                sent.headers.push(("kvorum-fence", format!("{}={token}", key(name))));
                sent
            }
        }
    }
}

impl Condition {
    fn on(self, mut sent: Sent) -> Sent {
        match self {
            Condition::Always => {}
            Condition::Absent => sent.headers.push(("if-none-match", "*".to_owned())),
            Condition::At(revision) => sent.headers.push(("if-match", format!("\"{revision}\""))),
        }
        sent
    }
}

impl Scan {
    fn target(&self, timeout: u64) -> String {
        let mut target = format!(
            "/keys?prefix={}&limit={}&timeout={timeout}ms",
            encode(&self.prefix),
            self.limit
        );
        for (on, name) in [
            (self.reverse, "&reverse"),
            (self.keys_only, "&keys_only"),
            (self.stale, "&consistency=stale"),
        ] {
            if on {
                target.push_str(name);
            }
        }
        match (&self.after, self.at) {
            (Some((_, cursor)), _) => target.push_str(&format!("&cursor={cursor}")),
            (None, Some(at)) => target.push_str(&format!("&at={at}")),
            (None, None) => {}
        }
        target
    }
}

impl Txn {
    /// As it is sent.
    #[must_use]
    pub fn json(&self) -> Json {
        let ops = |ops: &[Op]| Json::Array(ops.iter().map(Op::json).collect());
        json!({
            "if": self.guards.iter().map(Guard::json).collect::<Vec<_>>(),
            "then": ops(&self.then),
            "else": ops(&self.otherwise),
        })
    }
}

impl Op {
    fn json(&self) -> Json {
        match self {
            Op::Put { key, value, attach, previous } => {
                let mut put = json!({"key": key, "value": value, "previous": previous});
                match attach {
                    Attach::Nothing => {}
                    Attach::Lease(id) => put["lease"] = json!(id.to_string()),
                    Attach::Ttl(ttl) => put["ttl"] = json!(format!("{ttl}ms")),
                }
                json!({ "put": put })
            }
            Op::Delete { bounds, previous } => {
                let mut delete = bounds.json();
                delete["previous"] = json!(previous);
                json!({ "delete": delete })
            }
            Op::Get { bounds, limit, reverse, keys_only } => {
                let mut get = bounds.json();
                get["limit"] = json!(limit);
                get["reverse"] = json!(reverse);
                get["keys_only"] = json!(keys_only);
                json!({ "get": get })
            }
            Op::Count { bounds } => {
                let mut get = bounds.json();
                get["count_only"] = json!(true);
                json!({ "get": get })
            }
            Op::Txn(txn) => json!({ "txn": txn.json() }),
        }
    }
}

impl Guard {
    fn json(&self) -> Json {
        let mut guard = self.bounds.json();
        let (name, relation, value) = match &self.test {
            Test::Exists(exists) => {
                guard["exists"] = json!(exists);
                return guard;
            }
            Test::Version(relation, number) => ("version", relation, json!(number)),
            Test::Created(relation, number) => ("create_revision", relation, json!(number)),
            Test::Modified(relation, number) => ("mod_revision", relation, json!(number)),
            Test::Value(relation, text) => ("value", relation, json!(text)),
        };
        guard[name] = json!({ relation.sign(): value });
        guard
    }
}

impl Relation {
    fn sign(self) -> &'static str {
        match self {
            Relation::Equal => "=",
            Relation::NotEqual => "!=",
            Relation::Greater => ">",
            Relation::Less => "<",
        }
    }
}

impl Bounds {
    fn json(&self) -> Json {
        match self {
            Bounds::One(key) => json!({ "key": key }),
            Bounds::Prefix(prefix) => json!({ "prefix": prefix }),
        }
    }
}

/// Percent-encodes whatever is not plain.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
