//! `kvorum health`: a health check for places that have neither a shell nor curl.
//!
//! Rule: it asks the node of this machine and environment, over HTTP, and says 0 or 1. Must never:
//! hang; every step has a bound.

use crate::{cli::Vars, exit};
use kvorum_runtime::config;
use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    process::ExitCode,
    time::Duration,
};

/// Bound of each step: connecting, writing, reading.
const STEP: Duration = Duration::from_secs(2);
/// Nothing longer is worth showing.
const LONGEST_ANSWER: u64 = 4096;

/// Asks for `path` and turns the answer into an exit code.
pub fn run(vars: Vars, path: &str) -> ExitCode {
    let address = match config::local_http_address(vars) {
        Ok(address) => address,
        Err(error) => return exit::fail(exit::USAGE, &error.to_string()),
    };
    match ask(&address, path) {
        Ok(answer) => verdict(&address, path, &answer),
        Err(error) => exit::fail(
            exit::NO,
            &format!("http://{address}{path}: {error}. Is kvorum running, with the same PORT?"),
        ),
    }
}

fn ask(address: &str, path: &str) -> io::Result<String> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&candidate, STEP) {
            Ok(stream) => return exchange(stream, address, path),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn exchange(mut stream: TcpStream, address: &str, path: &str) -> io::Result<String> {
    stream.set_read_timeout(Some(STEP))?;
    stream.set_write_timeout(Some(STEP))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn verdict(address: &str, path: &str, answer: &str) -> ExitCode {
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    if status == Some("200") {
        println!("http://{address}{path}: ok");
        return ExitCode::SUCCESS;
    }
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim();
    let line = match status {
        Some(status) => format!("http://{address}{path}: {status} {body}"),
        None => format!("http://{address}{path}: the answer is not HTTP; is PORT right?"),
    };
    exit::fail(exit::NO, &line)
}
