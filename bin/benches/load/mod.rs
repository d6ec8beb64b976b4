//! What the benches of whole nodes share: ports, connections, and a look at a node.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use std::{net::TcpListener, time::Duration};
use tokio::net::TcpStream;

/// A connection to `address`, as soon as somebody listens there.
pub async fn connect(address: &str) -> SendRequest<Full<Bytes>> {
    loop {
        if let Ok(stream) = TcpStream::connect(address).await {
            let _ = stream.set_nodelay(true);
            if let Ok((sender, connection)) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await
            {
                tokio::spawn(connection);
                return sender;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The body of a successful GET.
pub async fn get(address: &str, path: &str) -> Option<Bytes> {
    let mut sender = connect(address).await;
    let request = Request::get(path).header("host", "bench").body(Full::default()).ok()?;
    let response = sender.send_request(request).await.ok()?;
    let fine = response.status().is_success();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    fine.then_some(body)
}

/// Ports that nobody listens on.
pub fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    listeners.iter().map(|l| l.local_addr().expect("a bound port").port()).collect()
}
