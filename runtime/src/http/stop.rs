//! The switch that ends the HTTP server.
//!
//! Rule: once thrown it stays thrown, and everybody who waits learns of it. Must never: bound the
//! time of the drain; the caller of `serve` does.

use crate::sync::Watched;

/// A switch that can be thrown once.
#[derive(Debug)]
pub struct Stop(Watched<bool>);

impl Stop {
    /// A switch not thrown yet.
    #[must_use]
    pub fn new() -> Stop {
        Stop(Watched::new(false))
    }

    /// Throws it: no new connections, requests under way are finished, idle connections close.
    pub fn stop(&self) {
        self.0.set(true);
    }

    /// Returns once it is thrown.
    pub async fn stopped(&self) {
        self.0.wait_for(|thrown| thrown.then_some(())).await;
    }
}

impl Default for Stop {
    fn default() -> Stop {
        Stop::new()
    }
}
