//! Which code answers a question of the machine, and for how long it is waited for.

use std::sync::{Arc, Mutex, PoisonError};

use kaspath_domain::MapMethod;
use tokio::time::timeout;

use crate::{
    igd::{self, Router},
    machine::{Answer, Ask, IGD_PATIENCE},
    pcp::{self, Nonce},
    route::Route,
};

/// The ways to ask a router.
pub(crate) struct Methods {
    nonce: Nonce,
    /// The router that was found last, for IGD.
    router: Mutex<Option<Router>>,
}

impl Methods {
    pub(crate) fn new(secret: &[u8; 32]) -> Arc<Self> {
        Arc::new(Self { nonce: Nonce::of(secret), router: Mutex::default() })
    }

    /// Asks, and gives an answer within a second.
    pub(crate) async fn ask(&self, route: Route, ask: &Ask) -> Answer {
        // PCP and NAT-PMP end by themselves before.
        let answer = timeout(IGD_PATIENCE, self.answer(route, ask)).await;
        answer.unwrap_or_else(|_| Err("no answer".to_owned())).unwrap_or_else(Answer::Failed)
    }

    async fn answer(&self, route: Route, ask: &Ask) -> Result<Answer, String> {
        match *ask {
            Ask::Find(MapMethod::Pcp) => Err("PCP is found by mapping".to_owned()),
            Ask::Find(MapMethod::NatPmp) => pcp::find_natpmp(route).await.map(|()| Answer::Found),
            Ask::Find(MapMethod::Igd) => {
                let router = igd::find(route).await?;
                *self.router.lock().unwrap_or_else(PoisonError::into_inner) = Some(router);
                Ok(Answer::Found)
            }
            Ask::Map { by, request, port } => match by {
                MapMethod::Pcp => pcp::map(route, request, port, self.nonce).await,
                MapMethod::NatPmp => pcp::map_natpmp(route, request, port).await,
                MapMethod::Igd => igd::map(&self.router()?, route, request, port).await,
            }
            .map(Answer::Mapped),
            Ask::Remove { by, request, external } => match by {
                MapMethod::Pcp => pcp::remove(route, request, self.nonce).await,
                MapMethod::NatPmp => pcp::remove_natpmp(route, request).await,
                MapMethod::Igd => igd::remove(&self.router()?, request, external).await,
            }
            .map(|()| Answer::Removed),
        }
    }

    fn router(&self) -> Result<Router, String> {
        let router = self.router.lock().unwrap_or_else(PoisonError::into_inner).clone();
        router.ok_or_else(|| "no router was found".to_owned())
    }
}
