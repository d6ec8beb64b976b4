//! Random requests: nothing that arrives on the socket harms the server, and JSON survives.
#![cfg(not(madsim))]

mod http_support;

use http_support::{Node, Raw, call};
use quickcheck::{Arbitrary, Gen, QuickCheck};
use serde_json::Value;
use std::sync::LazyLock;
use tokio::runtime::{Builder, Runtime};

/// A server on a runtime of its own: properties are plain functions.
struct Server {
    runtime: Runtime,
    node: Node,
}

impl Server {
    fn start() -> Server {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let node = runtime.block_on(Node::leader());
        Server { runtime, node }
    }

    fn address(&self) -> &str {
        &self.node.address
    }
}

/// Bytes that look more or less like requests.
#[derive(Debug, Clone)]
struct Noise(Vec<u8>);

impl Arbitrary for Noise {
    fn arbitrary(g: &mut Gen) -> Noise {
        const PIECES: [&str; 44] = [
            "GET ",
            "POST ",
            "PUT ",
            "DELETE ",
            "HEAD ",
            "OPTIONS ",
            "PATCH ",
            "/key",
            "/key/",
            "/join",
            "/cluster/transfer",
            "/readyz",
            "?",
            "&",
            "=",
            "%",
            "%00",
            "b64=",
            "raw",
            "timeout=",
            "at=18446744073709551615",
            " HTTP/1.1\r\n",
            " HTTP/1.0\r\n",
            "Host: x\r\n",
            "Content-Length: 9\r\n",
            "Content-Length: 18446744073709551615\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Expect: 100-continue\r\n",
            "Connection: close\r\n",
            "If-Match: \"1\"\r\n",
            "If-None-Match: *\r\n",
            "Accept: text/plain;q=\r\n",
            "Prefer: return=minimal\r\n",
            "Idempotency-Key: k\r\n",
            "Content-Type: application/json\r\n",
            "\r\n",
            "{\"a\":1}",
            "{\"a\":{\"a\":[",
            "]}",
            "\"\\ud800\"",
            "5\r\n",
            "0\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "\0\0\0\x04\0\0\0\0\0",
        ];
        let mut bytes = Vec::new();
        for _ in 0..u8::arbitrary(g) % 24 {
            if u8::arbitrary(g) % 8 == 0 {
                bytes.extend(Vec::<u8>::arbitrary(g));
            } else {
                bytes.extend(g.choose(&PIECES).unwrap().as_bytes());
            }
        }
        Noise(bytes)
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Noise>> {
        Box::new(self.0.shrink().map(Noise))
    }
}

#[test]
fn no_bytes_harm_the_server() {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    fn survives(noise: Noise) -> bool {
        let address = SERVER.address();
        SERVER.runtime.block_on(async {
            let mut raw = Raw::connect(address).await;
            raw.send_and_close(&noise.0).await;
            raw.rest().await;
            call(address, "GET", "/livez", &[], "").await.status == 200
        })
    }
    QuickCheck::new().tests(400).quickcheck(survives as fn(Noise) -> bool);
}

/// A JSON value with names, strings and numbers of all kinds.
#[derive(Debug, Clone)]
struct Json(Value);

impl Arbitrary for Json {
    fn arbitrary(g: &mut Gen) -> Json {
        fn value(g: &mut Gen, depth: u8) -> Value {
            match u8::arbitrary(g) % if depth == 0 { 5 } else { 7 } {
                0 => Value::String(String::arbitrary(g)),
                1 => Value::from(i64::arbitrary(g)),
                2 => Value::from(u64::arbitrary(g)),
                3 => Value::Bool(bool::arbitrary(g)),
                4 => Value::Null,
                5 => (0..u8::arbitrary(g) % 5).map(|_| value(g, depth - 1)).collect(),
                _ => (0..u8::arbitrary(g) % 5)
                    .map(|_| (String::arbitrary(g), value(g, depth - 1)))
                    .collect(),
            }
        }
        Json(value(g, 4))
    }
}

#[test]
fn any_json_comes_back_as_it_went_in() {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    fn survives(name: String, value: Json, pretty: bool) -> bool {
        if name.is_empty() || value.0.is_null() {
            return true;
        }
        let object: serde_json::Map<String, Value> =
            [(name.clone(), value.0)].into_iter().collect();
        let sent = Value::Object(object);
        let body =
            if pretty { serde_json::to_string_pretty(&sent) } else { serde_json::to_string(&sent) };
        let address = SERVER.address();
        SERVER.runtime.block_on(async {
            let set = call(address, "POST", "/key", &[], body.unwrap()).await;
            let path: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let got = call(address, "GET", &format!("/key/{path}"), &[], "").await;
            assert_eq!(set.status, 200, "{:?}", set.body);
            // The same value, and the same text however it was spaced.
            set.json() == sent && got.json() == sent && got.body == set.body
        })
    }
    QuickCheck::new().tests(300).quickcheck(survives as fn(String, Json, bool) -> bool);
}

#[test]
fn any_bytes_come_back_as_they_went_in() {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    fn survives(key: Vec<u8>, value: Vec<u8>) -> bool {
        if key.is_empty() {
            return true;
        }
        let path: String = key.iter().map(|byte| format!("%{byte:02X}")).collect();
        let address = SERVER.address();
        SERVER.runtime.block_on(async {
            let put = call(address, "PUT", &format!("/key/{path}"), &[], value.clone()).await;
            assert!(matches!(put.status, 200 | 201), "{:?}", put.body);
            let got = call(address, "GET", &format!("/key/{path}?raw"), &[], "").await;
            let text = call(address, "GET", &format!("/key/{path}"), &[], "").await;
            let is_text = std::str::from_utf8(&key).is_ok() && std::str::from_utf8(&value).is_ok();
            got.body == value && text.status == if is_text { 200 } else { 406 }
        })
    }
    QuickCheck::new().tests(300).quickcheck(survives as fn(Vec<u8>, Vec<u8>) -> bool);
}
