//! Random calls about leases, locks and fences, against a model of a few lines.
#![cfg(not(madsim))]

mod http_support;

use http_support::{Node, Res};
use quickcheck::{Arbitrary, Gen, QuickCheck};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::runtime::Builder;

/// One call. Leases are 1 to 3, keys and locks `a` to `c`.
#[derive(Debug, Clone)]
enum Call {
    Grant {
        id: u64,
        seconds: u64,
    },
    KeepAlive(u64),
    Revoke(u64),
    Put {
        key: char,
        lease: Option<u64>,
    },
    PutTtl {
        key: char,
        seconds: u64,
    },
    Delete(char),
    Acquire {
        lock: char,
        seconds: u64,
    },
    /// With the token that was given last, or one off.
    Release {
        lock: char,
        wrong: bool,
    },
    Fenced {
        lock: char,
        wrong: bool,
        key: char,
    },
    Pass {
        ms: u64,
    },
}

impl Arbitrary for Call {
    fn arbitrary(g: &mut Gen) -> Call {
        let mut below = |limit: u64| u64::arbitrary(g) % limit;
        let name = |n: u64| char::from(b'a' + n as u8);
        let (id, key, lock, seconds) = (1 + below(3), name(below(3)), name(below(3)), below(8));
        match below(14) {
            0 | 1 => Call::Grant { id, seconds },
            2 => Call::KeepAlive(id),
            3 => Call::Revoke(id),
            4 | 5 => Call::Put { key, lease: Some(id) },
            6 => Call::Put { key, lease: None },
            7 => Call::PutTtl { key, seconds },
            8 => Call::Delete(key),
            9 => Call::Acquire { lock, seconds },
            10 => Call::Release { lock, wrong: below(3) == 0 },
            11 => Call::Fenced { lock, wrong: below(3) == 0, key },
            _ => Call::Pass { ms: below(4000) },
        }
    }
}

/// What is there. A key or lock has the name of its lease; leases granted unnamed get large ids.
#[derive(Debug, Default)]
struct Model {
    now: u64,
    revision: u64,
    unnamed: u64,
    /// Time to live and deadline, in milliseconds.
    leases: BTreeMap<u64, (u64, u64)>,
    /// Version and lease.
    keys: BTreeMap<char, (u64, Option<u64>)>,
    /// Token and lease.
    locks: BTreeMap<char, (u64, u64)>,
    /// The token given last for each lock.
    tokens: BTreeMap<char, u64>,
}

impl Model {
    fn grant(&mut self, id: u64, seconds: u64) -> u64 {
        let ttl = (seconds * 1000).max(2000);
        self.leases.insert(id, (ttl, self.now + ttl));
        id
    }

    fn unnamed(&mut self, seconds: u64) -> u64 {
        self.unnamed += 1;
        self.grant(1000 + self.unnamed, seconds)
    }

    fn put(&mut self, key: char, lease: Option<u64>) {
        self.revision += 1;
        let version = self.keys.get(&key).map_or(0, |known| known.0) + 1;
        self.keys.insert(key, (version, lease));
    }

    /// Ends leases, all at one revision if they have keys.
    fn end(&mut self, ended: &[u64]) -> usize {
        let before = self.keys.len() + self.locks.len();
        self.leases.retain(|id, _| !ended.contains(id));
        self.keys.retain(|_, (_, lease)| lease.is_none_or(|lease| !ended.contains(&lease)));
        self.locks.retain(|_, (_, lease)| !ended.contains(lease));
        let gone = before - self.keys.len() - self.locks.len();
        self.revision += u64::from(gone > 0);
        gone
    }

    fn token(&self, lock: char, wrong: bool) -> u64 {
        self.tokens.get(&lock).copied().unwrap_or(1) + u64::from(wrong)
    }

    fn holds(&self, lock: char, token: u64) -> bool {
        self.locks.get(&lock).is_some_and(|held| held.0 == token)
    }

    fn alive(&self) -> Value {
        let leases = self.leases.values().map(|(ttl, deadline)| (*ttl, deadline - self.now));
        let mut leases: Vec<(u64, u64)> = leases.collect();
        leases.sort_unstable();
        json!(leases)
    }
}

/// Carries out `call` on both and compares the answers.
async fn step(node: &Node, model: &mut Model, call: &Call) {
    let expect = |reply: Res, status: u16, code: &str| {
        if status >= 400 {
            assert_eq!(reply.assert_problem(status, code)["applied"], "no");
        } else {
            assert_eq!(reply.status, status, "{}", reply.text());
        }
    };
    match *call {
        Call::Grant { id, seconds } => {
            let body = json!({"id":id.to_string(),"ttl":seconds}).to_string();
            let reply = node.post("/lease", body).await;
            match model.leases.contains_key(&id) {
                true => expect(reply, 409, "lease_exists"),
                false => {
                    model.grant(id, seconds);
                    expect(reply, 200, "");
                }
            }
        }
        Call::KeepAlive(id) => {
            let reply = node.post(&format!("/lease/{id}/keepalive"), "").await;
            match model.leases.get_mut(&id) {
                None => expect(reply, 404, "lease_not_found"),
                Some((ttl, deadline)) => {
                    *deadline = model.now + *ttl;
                    expect(reply, 200, "");
                }
            }
        }
        Call::Revoke(id) => {
            let reply = node.call("DELETE", &format!("/lease/{id}"), "").await;
            if model.leases.contains_key(&id) {
                assert_eq!(reply.json()["deleted"], model.end(&[id]));
            } else {
                expect(reply, 404, "lease_not_found");
            }
        }
        Call::Put { key, lease } => {
            let query = lease.map_or(String::new(), |id| format!("?lease={id}"));
            let reply = node.call("PUT", &format!("/key/{key}{query}"), "v").await;
            if lease.is_some_and(|id| !model.leases.contains_key(&id)) {
                expect(reply, 404, "lease_not_found");
            } else {
                model.put(key, lease);
                assert_eq!(reply.json()["version"], model.keys[&key].0);
            }
        }
        Call::PutTtl { key, seconds } => {
            let reply = node.call("PUT", &format!("/key/{key}?ttl={seconds}"), "v").await;
            let lease = model.unnamed(seconds);
            model.put(key, Some(lease));
            assert_eq!(reply.json()["version"], model.keys[&key].0);
        }
        Call::Delete(key) => {
            let reply = node.call("DELETE", &format!("/key/{key}"), "").await;
            match model.keys.remove(&key) {
                None => expect(reply, 404, "key_not_found"),
                Some(_) => {
                    model.revision += 1;
                    expect(reply, 200, "");
                }
            }
        }
        Call::Acquire { lock, seconds } => {
            let reply = node.post(&format!("/lock/{lock}?ttl={seconds}"), "").await;
            match model.locks.get(&lock) {
                Some(held) => {
                    let problem = reply.assert_problem(409, "lock_held");
                    assert_eq!(problem["holder"]["token"], held.0);
                }
                None => {
                    let lease = model.unnamed(seconds);
                    model.revision += 1;
                    let token = reply.json()["token"].as_u64().unwrap();
                    assert_eq!(token, 1 + model.revision);
                    model.locks.insert(lock, (token, lease));
                    model.tokens.insert(lock, token);
                }
            }
        }
        Call::Release { lock, wrong } => {
            let token = model.token(lock, wrong);
            let reply = node.call("DELETE", &format!("/lock/{lock}?token={token}"), "").await;
            if model.holds(lock, token) {
                let lease = model.locks[&lock].1;
                model.end(&[lease]);
                expect(reply, 200, "");
            } else {
                expect(reply, 409, "lock_lost");
            }
        }
        Call::Fenced { lock, wrong, key } => {
            let token = model.token(lock, wrong);
            let fence = format!("{lock}={token}");
            let path = format!("/key/{key}");
            let reply = node.call_with("PUT", &path, &[("kvorum-fence", &fence)], "v").await;
            if model.holds(lock, token) {
                model.put(key, None);
                assert_eq!(reply.json()["version"], model.keys[&key].0);
            } else {
                expect(reply, 412, "fenced");
            }
        }
        Call::Pass { ms } => {
            model.now += ms;
            let due = model.leases.iter().filter(|(_, lease)| lease.1 <= model.now);
            let due: Vec<u64> = due.map(|(id, _)| *id).collect();
            model.end(&due);
            node.pass(ms);
        }
    }
}

async fn compare(node: &Node, model: &Model) {
    let keys = node.get("/keys?keys_only").await;
    let revision: u64 = keys.header("kvorum-revision").unwrap().parse().unwrap();
    assert_eq!(revision, 1 + model.revision);
    let known: Vec<String> = model
        .locks
        .keys()
        .map(|lock| format!("\0lock/{lock}"))
        .chain(model.keys.keys().map(char::to_string))
        .collect();
    let there: Vec<String> = keys.json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["key"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(there, known);
    let ms = |seconds: &Value| (seconds.as_f64().unwrap() * 1000.0).round() as u64;
    let leases = node.get("/leases").await.json();
    let leases = leases["leases"].as_array().unwrap().iter();
    let mut leases: Vec<(u64, u64)> =
        leases.map(|lease| (ms(&lease["ttl"]), ms(&lease["remaining"]))).collect();
    leases.sort_unstable();
    assert_eq!(json!(leases), model.alive());
}

#[test]
fn leases_locks_and_fences_do_as_the_model_says() {
    fn agrees(calls: Vec<Call>) -> bool {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let node = Node::leader().await;
            // So that no token is that of a lock that was never held.
            let mut model = Model { revision: 1, ..Model::default() };
            node.call("PUT", "/key/z", "").await;
            model.keys.insert('z', (1, None));
            for call in &calls {
                step(&node, &mut model, call).await;
            }
            compare(&node, &model).await;
        });
        true
    }
    QuickCheck::new().tests(20).quickcheck(agrees as fn(Vec<Call>) -> bool);
}
