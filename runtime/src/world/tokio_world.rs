//! The real world: tokio's sockets and clock, one thread per lane, the kernel's randomness.

#[cfg(target_os = "linux")]
use super::Usage;
use super::{LANE_BATCH, Listener, World};
use kvorum_core::raft::Instant;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{io, time};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// The world of the shipped binary.
#[derive(Clone, Debug)]
pub struct TokioWorld {
    start: time::Instant,
}

impl TokioWorld {
    /// Starts this node's clock at zero, and lets the process open as many descriptors as the
    /// system allows it: most systems begin with 1,024, and every client needs one.
    #[must_use]
    pub fn new() -> TokioWorld {
        let most = getrlimit(Resource::Nofile).maximum;
        // When it is refused, what there is must do: accepting says so when it is used up.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most });
        TokioWorld { start: time::Instant::now() }
    }
}

impl Default for TokioWorld {
    fn default() -> TokioWorld {
        TokioWorld::new()
    }
}

impl World for TokioWorld {
    type Stream = TcpStream;
    type Listener = TokioListener;

    async fn listen(&self, address: &str) -> io::Result<TokioListener> {
        // Sets SO_REUSEADDR: a restarted node gets its port although old connections linger.
        let listener = TcpListener::bind(address).await?;
        let local = listener.local_addr()?.to_string();
        Ok(TokioListener { listener, local })
    }

    async fn dial(&self, address: &str) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        // Dialling a free port of this machine, the kernel may pick that very port as the source
        // and connect the socket to itself. That is nobody.
        if stream.local_addr()? == stream.peer_addr()? {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        without_delay(&stream);
        Ok(stream)
    }

    fn now(&self) -> Instant {
        Instant(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    async fn sleep_until(&self, at: Instant) {
        let deadline = self.start + time::Duration::from_nanos(at.0);
        tokio::time::sleep_until(deadline.into()).await;
    }

    fn wall_ms(&self) -> u64 {
        time::SystemTime::now()
            .duration_since(time::UNIX_EPOCH)
            .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    fn entropy(&self) -> u64 {
        rand::random()
    }

    #[cfg(target_os = "linux")]
    fn usage(&self) -> Option<Usage> {
        let process = procfs::process::Process::myself().ok()?;
        let stat = process.stat().ok()?;
        let limit = process.limits().ok()?.max_open_files.soft_limit;
        Some(Usage {
            cpu_seconds: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
            resident_bytes: stat.rss * procfs::page_size(),
            virtual_bytes: stat.vsize,
            open_fds: process.fd_count().ok()? as u64,
            max_fds: match limit {
                procfs::process::LimitValue::Value(most) => most,
                procfs::process::LimitValue::Unlimited => u64::MAX,
            },
        })
    }

    fn lane<J: Send + 'static>(
        &self,
        name: &'static str,
        capacity: usize,
        mut work: impl FnMut(&mut Vec<J>) + Send + 'static,
    ) -> mpsc::Sender<J> {
        let (sender, mut receiver) = mpsc::channel(capacity);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let mut batch = Vec::new();
                while receiver.blocking_recv_many(&mut batch, LANE_BATCH) > 0 {
                    work(&mut batch);
                    batch.clear();
                }
            })
            .expect("the system starts a thread for a lane");
        sender
    }
}

/// Small messages leave at once. A refusal is no reason to drop the connection: a socket that is
/// already reset says so when it is read.
fn without_delay(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
}

/// A bound TCP socket.
#[derive(Debug)]
pub struct TokioListener {
    listener: TcpListener,
    local: String,
}

impl Listener for TokioListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, String)> {
        let (stream, from) = self.listener.accept().await?;
        without_delay(&stream);
        Ok((stream, from.to_string()))
    }

    fn local_address(&self) -> String {
        self.local.clone()
    }
}
