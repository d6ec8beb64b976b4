//! As much HTTP as a test needs: one request per connection, the answer as it came.

use std::{
    io::{self, BufRead, BufReader, Lines, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Longer than any request waits by itself.
const READ_LIMIT: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    /// The body as text; see `bytes` for one that is none.
    pub body: String,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Where a request failed.
#[derive(Debug)]
pub enum Failed {
    /// No connection: the request never left.
    Connect,
    /// The connection broke; what became of the request is open.
    Broken,
}

pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: Option<&str>,
) -> Result<Answer, Failed> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
        .map_err(|_| Failed::Connect)?;
    exchange(stream, &text(address, method, path, body)).map_err(|_| Failed::Broken)
}

/// As `request`, with headers and a body of any bytes.
pub fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, Failed> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
        .map_err(|_| Failed::Connect)?;
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n").into_bytes();
    for (name, value) in headers {
        request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    let length = body.len();
    request.extend_from_slice(
        format!("Content-Length: {length}\r\nConnection: close\r\n\r\n").as_bytes(),
    );
    request.extend_from_slice(body);
    stream.write_all(&request).and_then(|()| read(&mut stream)).map_err(|_| Failed::Broken)
}

/// The lines of a stream that does not end, its head included. By HTTP/1.0, so that nothing stands
/// between them.
pub fn lines(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Lines<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(address).expect("the node listens");
    stream.set_read_timeout(Some(READ_LIMIT)).expect("a limit");
    let mut request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).expect("the node reads");
    BufReader::new(stream).lines()
}

/// The request as it is written.
pub fn text(address: SocketAddr, method: &str, path: &str, body: Option<&str>) -> String {
    let body = body.unwrap_or("");
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// One request with headers of its own.
pub fn request_with(
    address: SocketAddr,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Answer, Failed> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
        .map_err(|_| Failed::Connect)?;
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{headers}Content-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    exchange(stream, &text).map_err(|_| Failed::Broken)
}

fn exchange(mut stream: TcpStream, request: &str) -> io::Result<Answer> {
    stream.write_all(request.as_bytes())?;
    read(&mut stream)
}

/// Reads an answer from a connection that the server closes.
pub fn read(stream: &mut TcpStream) -> io::Result<Answer> {
    stream.set_read_timeout(Some(READ_LIMIT))?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let body = bytes.split_off(end.ok_or(io::ErrorKind::UnexpectedEof)? + 4);
    let head = String::from_utf8(bytes).map_err(io::Error::other)?;
    let status = head.get(9..12).and_then(|code| code.parse().ok());
    let answer = Answer {
        status: status.ok_or(io::ErrorKind::InvalidData)?,
        head,
        body: String::from_utf8_lossy(&body).into_owned(),
        bytes: body,
    };
    // A body cut short is a broken connection, not an answer.
    let announced: Option<usize> = answer.header("content-length").and_then(|n| n.parse().ok());
    if announced.is_some_and(|length| length != answer.bytes.len()) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}
