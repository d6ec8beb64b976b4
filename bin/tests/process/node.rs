//! One process of the binary: started, asked, signalled, ended by its pid.

use crate::{
    bed::{Bed, PATIENCE, eventually},
    http::{self, Answer, Failed},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// A node: its configuration, and its process while it runs.
pub struct Node {
    name: String,
    http: SocketAddr,
    vars: BTreeMap<String, String>,
    log: PathBuf,
    child: Option<Child>,
}

/// A line of `/cluster`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub id: String,
    pub voter: bool,
}

impl Node {
    pub fn new(name: &str, dir: &Path) -> Node {
        let (ip, port, raft) = (Bed::ip(), Bed::port(), Bed::port());
        let vars = [
            ("NODE_ID", name.to_owned()),
            ("PORT", port.to_string()),
            ("KVORUM_HTTP_BIND", ip.clone()),
            ("RAFT_BIND_ADDR", format!("{ip}:{raft}")),
            ("KVORUM_LOG_FORMAT", "text".to_owned()),
        ];
        Node {
            name: name.to_owned(),
            http: format!("{ip}:{port}").parse().expect("an address"),
            vars: vars.map(|(name, value)| (name.to_owned(), value)).into(),
            log: dir.join(format!("{name}-{port}.log")),
            child: None,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn http(&self) -> SocketAddr {
        self.http
    }

    pub fn var(&self, name: &str) -> &str {
        &self.vars[name]
    }

    pub fn set(&mut self, name: &str, value: &str) -> &mut Node {
        self.vars.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn join(&mut self, member: &Node) -> &mut Node {
        self.set("RAFT_JOIN_ADDR", &member.http.to_string())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvorum"));
        command.env_clear().envs(&self.vars).stdin(Stdio::null());
        command
    }

    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let file = OpenOptions::new().create(true).append(true).open(&self.log).expect("a log");
        let out = file.try_clone().expect("a second handle");
        let child = self.command().stdout(out).stderr(file).spawn();
        self.child = Some(child.expect("the binary starts"));
    }

    /// Runs it to its end: the exit code and what it wrote. For starts that must fail.
    #[track_caller]
    pub fn run_to_end(&mut self) -> (i32, String) {
        self.start();
        let status = self.wait();
        (status.code().unwrap_or(-1), self.log())
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().expect("a running node").id();
        let pid = Pid::from_raw(pid.cast_signed()).expect("a pid is not zero");
        kill_process(pid, signal).expect("our own child can be signalled");
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Waits for the process to end by itself.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let child = self.child.as_mut().expect("a running node");
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("our own child can be waited for") {
                self.child = None;
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "{} does not end", self.name);
            sleep(Duration::from_millis(5));
        }
    }

    pub fn request(&self, method: &str, path: &str, body: Option<&str>) -> Result<Answer, Failed> {
        http::request(self.http, method, path, body)
    }

    /// An answer, or the test fails.
    #[track_caller]
    fn must(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        self.request(method, path, body)
            .unwrap_or_else(|failed| panic!("{} {method} {path}: {failed:?}", self.name))
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.must("GET", path, None)
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.must("POST", path, Some(body))
    }

    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        self.must("DELETE", path, None)
    }

    /// Sets a key through this node.
    #[track_caller]
    pub fn put(&self, key: &str, value: &str) {
        let body = format!("{{\"{key}\":\"{value}\"}}");
        let answer = self.post("/key", &body);
        assert_eq!((answer.status, answer.body.as_str()), (200, body.as_str()), "{}", self.name);
    }

    /// Reads a key through this node, linearizably.
    #[track_caller]
    pub fn read(&self, key: &str) -> Option<String> {
        let answer = self.get(&format!("/key/{key}"));
        match answer.status {
            200 => Some(answer.json()[key].as_str().expect("a text value").to_owned()),
            404 => None,
            _ => panic!("{} GET {key}: {} {}", self.name, answer.status, answer.body),
        }
    }

    pub fn is_ready(&self) -> bool {
        self.request("GET", "/readyz", None).is_ok_and(|answer| answer.status == 200)
    }

    #[track_caller]
    pub fn ready(&self) {
        eventually(&format!("{} is ready", self.name), || self.is_ready().then_some(()));
    }

    pub fn status(&self) -> Option<Value> {
        let answer = self.request("GET", "/status", None).ok()?;
        (answer.status == 200).then(|| answer.json())
    }

    pub fn cluster_id(&self) -> Option<String> {
        self.status()?["cluster_id"].as_str().map(ToOwned::to_owned)
    }

    /// This node's incarnation.
    pub fn id(&self) -> Option<String> {
        self.status()?["id"].as_str().map(ToOwned::to_owned)
    }

    pub fn term(&self) -> Option<u64> {
        self.status()?["term"].as_u64()
    }

    pub fn members(&self) -> Option<Vec<Member>> {
        let answer = self.request("GET", "/cluster", None).ok()?;
        let cluster = (answer.status == 200).then(|| answer.json())?;
        let members = cluster["members"].as_array()?;
        members
            .iter()
            .map(|member| {
                Some(Member {
                    name: member["node_id"].as_str()?.to_owned(),
                    id: member["id"].as_str()?.to_owned(),
                    voter: member["voter"].as_bool()?,
                })
            })
            .collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of {} ({})\n{}", self.name, self.http, self.log());
        }
    }
}
