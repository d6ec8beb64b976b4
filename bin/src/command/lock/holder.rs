//! Keeps a lock alive, and knows until when it is certainly held.
//!
//! Rule: the lock is held for its lifetime from the moment the last confirmed keep-alive was sent,
//! by this machine's clock, which the cluster's never runs ahead of by design; a quarter of the
//! lifetime before that (2 s at most) it counts as lost. Must never: count from the answer.

use super::{super::lease::keep_alive, ENDING};
use crate::{client::Client, exit};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// Pause after a keep-alive that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a lock is no longer certainly held.
#[derive(Debug)]
pub struct Lost(pub String);

/// Who keeps it alive.
pub struct Holder {
    client: Client,
    lease: String,
    ttl: Duration,
    /// When the last keep-alive that was confirmed had been sent.
    confirmed: Instant,
}

impl Holder {
    /// Begins with one keep-alive, so that it is known from when on the lock is held.
    ///
    /// # Errors
    /// When it is lost already.
    pub async fn begin(client: &Client, lease: &str, ttl: Duration) -> Result<Holder, Lost> {
        // One keep-alive may take as long as there is between two of them.
        let client = client.within(ttl / 3);
        let mut holder = Holder { client, lease: lease.to_owned(), ttl, confirmed: Instant::now() };
        holder.renew().await?;
        Ok(holder)
    }

    /// Returns when the lock is no longer certainly held.
    pub async fn lost(&mut self) -> Lost {
        loop {
            sleep_until(self.confirmed + self.ttl / 3).await;
            if let Err(lost) = self.renew().await {
                return lost;
            }
        }
    }

    /// Until a keep-alive is confirmed.
    async fn renew(&mut self) -> Result<(), Lost> {
        let last = self.confirmed + self.ttl - ENDING.min(self.ttl / 4);
        let mut why = "the cluster did not answer in time".to_owned();
        loop {
            let sent = Instant::now();
            match timeout_at(last, keep_alive(&self.client, &self.lease)).await {
                Ok(Ok(_)) => {
                    self.confirmed = sent;
                    return Ok(());
                }
                Ok(Err(failure)) if failure.exit == exit::NO => return Err(Lost(failure.message)),
                Ok(Err(failure)) => why = failure.message,
                Err(_) => return Err(Lost(why)),
            }
            if Instant::now() + PAUSE >= last {
                return Err(Lost(why));
            }
            sleep(PAUSE).await;
        }
    }
}
