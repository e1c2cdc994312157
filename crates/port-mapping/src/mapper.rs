//! The task that carries out what the machine decides.

use std::{future::pending, sync::Arc, time::Duration};

use async_trait::async_trait;
use kaspath_domain::{MapMethod, MapRequest, MappingEvent, MonotonicClock, PortMapper};
use tokio::{
    sync::{Mutex, Notify, mpsc, oneshot},
    task::{AbortHandle, JoinSet},
    time::{interval, sleep, timeout},
};

use crate::{
    hints::Hints,
    machine::{Answer, AskId, Input, Machine, Output},
    methods::Methods,
    route::Route,
};

/// How often the system's default route is read: a small file of the kernel.
const ROUTE_INTERVAL: Duration = Duration::from_secs(5);
/// How long removing the mappings may take.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// What to map, and how.
#[derive(Clone, Debug)]
pub struct MapperConfig {
    /// The ports; eight at most, more are left out.
    pub requests: Vec<MapRequest>,
    /// The methods that may be used, all asked at once.
    pub methods: Vec<MapMethod>,
    /// Bytes that only this node knows, and that are the same after a restart: they prove to
    /// a PCP server that a mapping is ours.
    pub secret: [u8; 32],
}

/// Where the route is read from.
pub(crate) type Routes = Arc<dyn Fn() -> Option<Route> + Send + Sync>;

/// Maps ports at this host's default gateway. Dropping it ends its task and leaves the
/// mappings to their lifetime: [`PortMapper::release`] removes them.
pub struct RouterMapper {
    events: Mutex<mpsc::UnboundedReceiver<MappingEvent>>,
    suspicion: Arc<Notify>,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
    task: AbortHandle,
}

impl RouterMapper {
    /// Begins at once. Must be called within a tokio runtime.
    pub fn start(config: MapperConfig) -> Self {
        Self::with_routes(config, Arc::new(Route::read))
    }

    pub(crate) fn with_routes(config: MapperConfig, routes: Routes) -> Self {
        // Few events, for each takes an answer of the router, of which there are few a second.
        let (sender, events) = mpsc::unbounded_channel();
        let (stop, stopping) = oneshot::channel();
        let (ending, ended) = oneshot::channel();
        let suspicion = Arc::new(Notify::new());
        let actor = Actor {
            machine: Machine::new(config.requests, config.methods),
            methods: Methods::new(&config.secret),
            clock: MonotonicClock::start(),
            routes,
            route: None,
            hints: None,
            heard: Arc::new(Notify::new()),
            asks: JoinSet::new(),
            events: sender,
        };
        let task = tokio::spawn(actor.run(suspicion.clone(), stopping, ending)).abort_handle();
        Self { events: Mutex::new(events), suspicion, stop: Mutex::new(Some(stop)), ended: Mutex::new(Some(ended)), task }
    }
}

impl Drop for RouterMapper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[async_trait]
impl PortMapper for RouterMapper {
    async fn next(&self) -> MappingEvent {
        match self.events.lock().await.recv().await {
            Some(event) => event,
            None => pending().await,
        }
    }

    fn suspect(&self) {
        self.suspicion.notify_one();
    }

    async fn release(&self) {
        self.stop.lock().await.take();
        if let Some(ended) = self.ended.lock().await.take() {
            let _ = timeout(RELEASE_TIMEOUT, ended).await;
        }
        self.task.abort();
    }
}

struct Actor {
    machine: Machine,
    methods: Arc<Methods>,
    clock: MonotonicClock,
    routes: Routes,
    route: Option<Route>,
    /// Of the router of `route`.
    hints: Option<Hints>,
    heard: Arc<Notify>,
    asks: JoinSet<(AskId, Answer)>,
    events: mpsc::UnboundedSender<MappingEvent>,
}

impl Actor {
    /// Runs until all mappings are removed after `stop` has gone; then `_ended` goes.
    async fn run(mut self, suspicion: Arc<Notify>, stop: oneshot::Receiver<()>, _ended: oneshot::Sender<()>) {
        let mut ticks = interval(ROUTE_INTERVAL);
        tokio::pin!(stop);
        let mut is_stopping = false;
        loop {
            let deadline = self.machine.deadline().map(|deadline| deadline.since(self.clock.now()));
            let input = tokio::select! {
                biased;
                _ = &mut stop, if !is_stopping => {
                    is_stopping = true;
                    Input::Stop
                }
                Some(answered) = self.asks.join_next() => match answered {
                    Ok((ask, answer)) => Input::Answer { ask, answer },
                    // A panic, which is said elsewhere.
                    Err(_) => return,
                },
                _ = ticks.tick() => self.read_route(),
                () = suspicion.notified() => {
                    // It may be another network by now.
                    let route = self.read_route();
                    self.machine.handle(route, self.clock.now());
                    Input::Suspect
                }
                () = self.heard.notified() => match self.route {
                    Some(route) => Input::Hint { from: route.gateway },
                    None => continue,
                },
                () = async { sleep(deadline.unwrap_or_default()).await }, if deadline.is_some() => Input::Elapsed,
            };
            self.machine.handle(input, self.clock.now());
            while let Some(output) = self.machine.poll() {
                match output {
                    Output::Ask { id, ask, route } => {
                        let methods = self.methods.clone();
                        self.asks.spawn(async move {
                            let answer = methods.ask(route, &ask).await;
                            tracing::debug!(?ask, ?answer, "asked the router");
                            (id, answer)
                        });
                    }
                    Output::Event(event) => drop(self.events.send(event)),
                    Output::Stopped => return,
                }
            }
        }
    }

    fn read_route(&mut self) -> Input {
        let route = (self.routes)();
        if route != self.route {
            self.route = route;
            self.hints = route.map(|route| Hints::listen(route, &self.heard));
        }
        Input::Route(route)
    }
}
