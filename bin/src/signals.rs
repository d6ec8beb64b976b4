//! SIGTERM and SIGINT.
//!
//! Rule: the first asks for a graceful stop, the second ends the process at once. Must never: be
//! installed later than the node starts; a signal in between would kill it half started.

use crate::exit;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The two signals, caught from here on.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches the signals. Needs a running tokio runtime.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn catch() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Resolves at the first signal; from then on a second one ends the process.
    pub async fn first(mut self) {
        let (name, _) = self.next().await;
        tracing::info!("{name}: stopping gracefully; once more stops at once");
        tokio::spawn(async move {
            let (name, code) = self.next().await;
            tracing::warn!("second signal, {name}: stopping at once");
            std::process::exit(i32::from(code));
        });
    }

    async fn next(&mut self) -> (&'static str, u8) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => ("SIGTERM", exit::TERMINATED),
            _ = self.interrupt.recv() => ("SIGINT", exit::INTERRUPTED),
        }
    }
}
