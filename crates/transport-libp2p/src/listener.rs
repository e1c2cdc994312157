use async_trait::async_trait;
use kaspath_domain::{Direction, DuplexStream, ListenError, StreamListener};
use tokio::sync::{Mutex, mpsc};

use crate::{streams::OpenStream, swarm::HealthReports};

/// Accepts the streams that peers open, over whatever path.
#[derive(Debug)]
pub struct Libp2pListener {
    accepted: Mutex<mpsc::Receiver<OpenStream>>,
    health: HealthReports,
}

impl Libp2pListener {
    pub(crate) fn new(accepted: mpsc::Receiver<OpenStream>, health: HealthReports) -> Self {
        Self { accepted: Mutex::new(accepted), health }
    }
}

#[async_trait]
impl StreamListener for Libp2pListener {
    async fn accept(&self) -> Result<DuplexStream, ListenError> {
        let open = self.accepted.lock().await.recv().await.ok_or(ListenError::Closed)?;
        Ok(open.into_domain(Direction::Inbound, |connection| self.health.of(connection)))
    }
}
