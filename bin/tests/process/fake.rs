//! Servers that misbehave on purpose: silent ones, ones that cut what they pass on, ones that say
//! what they are told to.

use crate::bed::Bed;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// A listener whose connections are handled one after the other.
pub struct Fake {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// `handle` gets each connection with its number, and the request as it came.
    pub fn start(mut handle: impl FnMut(usize, TcpStream, Vec<u8>) + Send + 'static) -> Fake {
        let listener = TcpListener::bind((Bed::ip(), Bed::port())).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&served));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let request = request(&mut stream);
                let number = count.fetch_add(1, Ordering::Relaxed);
                handle(number, stream, request);
            }
        });
        Fake { address, stop, served, thread: Some(thread) }
    }

    /// Takes requests and never answers.
    pub fn silent() -> Fake {
        let mut kept = Vec::new();
        Fake::start(move |_, stream, _| kept.push(stream))
    }

    /// Passes each request on to `node`, waits for the answer, and cuts the connection instead of
    /// passing it back.
    pub fn swallowing(node: SocketAddr) -> Fake {
        Fake::start(move |_, _, request| {
            let mut stream = TcpStream::connect(node).expect("the node answers");
            stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
            stream.write_all(&request).expect("the node reads");
            let mut answer = [0; 64];
            let n = stream.read(&mut answer).expect("the node answers");
            assert!(answer[..n].starts_with(b"HTTP/1.1 20"), "{:?}", &answer[..n]);
        })
    }

    /// Answers connection n with the n-th text, the last one again and again.
    pub fn saying(texts: Vec<String>) -> Fake {
        Fake::start(move |number, mut stream, _| {
            let text = texts.get(number).or(texts.last()).expect("a text");
            // Who has heard enough goes.
            let _ = stream.write_all(text.as_bytes());
        })
    }

    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// How many requests came.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let failed = thread.join().is_err();
            assert!(!failed || thread::panicking(), "a fake server failed");
        }
    }
}

/// Reads one request, its body by `Content-Length`.
fn request(stream: &mut TcpStream) -> Vec<u8> {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
                .unwrap_or(0);
            if bytes.len() >= head + 4 + length {
                return bytes;
            }
        }
        match stream.read(&mut piece) {
            Ok(n) if n > 0 => bytes.extend_from_slice(&piece[..n]),
            _ => return bytes,
        }
    }
}

/// An answer with a body.
pub fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// The beginning of a stream that goes on until the connection is cut, within a line if it must be.
pub fn stream(lines: &[&str], cut: &str) -> String {
    let mut body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    body.push_str(cut);
    let piece = format!("{:x}\r\n{body}\r\n", body.len());
    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{piece}")
}
