//! The joiner's side of a join: one request to a member, and what its answer means.
//!
//! Rule: joining is idempotent, so anything but a clear "yes" or a clear "never" is asked again.
//! Must never: take a passing trouble (no leader, another change under way) for a refusal.

use crate::{handle::Member, http::client::Client, world::World};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, StatusCode, header};
use serde_json::{Value, json};

/// Asks members to take this node in.
pub struct Joiner<W: World> {
    client: Client<W>,
    me: Member,
}

/// What a member answered.
#[derive(Debug)]
pub enum Asked {
    /// This node is a member of `cluster`.
    Joined {
        /// The cluster.
        cluster: u64,
    },
    /// Not now; the text says why.
    NotYet(String),
    /// Never, as things are; the text says why and what to do.
    Refused(String),
}

impl<W: World> Joiner<W> {
    /// Asks with `client`, for `me`.
    pub fn new(client: Client<W>, me: Member) -> Joiner<W> {
        Joiner { client, me }
    }

    /// Asks the member whose HTTP server is at `address`.
    pub async fn ask(&self, address: &str) -> Asked {
        let body = json!({
            "node_id": self.me.name,
            "address": self.me.raft_address,
            "http": self.me.http_address,
            "id": self.me.id.0.to_string(),
        });
        let request = Request::builder()
            .method(Method::POST)
            .uri("/join")
            .header(header::HOST, address)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .expect("a request of fixed parts is well-formed");
        match self.client.request(address, request).await {
            Ok(response) => judge(address, response.status(), response.body()),
            Err(error) => Asked::NotYet(error.to_string()),
        }
    }

    /// Whether the cluster of the member at `address` has a member with the name of `me`.
    pub async fn remembers(&self, address: &str, me: &Member) -> bool {
        let request = Request::builder()
            .uri("/cluster")
            .header(header::HOST, address)
            .body(Full::default())
            .expect("a request of fixed parts is well-formed");
        let Ok(response) = self.client.request(address, request).await else { return false };
        let Ok(body) = serde_json::from_slice::<Value>(response.body()) else { return false };
        body["members"].as_array().is_some_and(|members| {
            members.iter().any(|member| member["node_id"].as_str() == Some(&me.name))
        })
    }
}

fn judge(address: &str, status: StatusCode, body: &Bytes) -> Asked {
    let parsed: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let message = || {
        let text = parsed["message"].as_str().map(ToOwned::to_owned);
        text.unwrap_or_else(|| String::from_utf8_lossy(body).trim().chars().take(300).collect())
    };
    match status {
        StatusCode::OK => {
            let cluster = parsed["cluster_id"].as_str();
            match cluster.and_then(|text| u64::from_str_radix(text, 16).ok()) {
                Some(cluster) => Asked::Joined { cluster },
                None => Asked::Refused(format!(
                    "RAFT_JOIN_ADDR={address} answers, but not as kvorum does; give the HTTP \
                     address of a member"
                )),
            }
        }
        StatusCode::CONFLICT => Asked::Refused(format!("join refused: {}", message())),
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            Asked::Refused(format!("RAFT_JOIN_ADDR={address} refuses the join: {}", message()))
        }
        _ => Asked::NotYet(message()),
    }
}
