//! The place of a connection that goes on as something else than HTTP: hyper is done with it, but it
//! still counts, and the server waits for it when it stops.

use std::convert::Infallible;

use tokio::sync::mpsc;

/// Held for as long as the connection is used. It stands in the extensions of each request.
#[derive(Clone, Debug)]
pub(super) struct Lease(mpsc::Sender<Infallible>);

/// The leases of one connection.
pub(super) struct Leases(mpsc::Receiver<Infallible>);

impl Lease {
    pub fn new() -> (Self, Leases) {
        let (lease, leases) = mpsc::channel(1);
        (Self(lease), Leases(leases))
    }

    /// Ends when the server gives the connection up.
    pub async fn terminated(&self) {
        self.0.closed().await;
    }
}

impl Leases {
    /// Ends when nobody holds one.
    pub async fn end(&mut self) {
        // Nothing is ever sent.
        while self.0.recv().await.is_some() {}
    }
}
