//! Connections, within bounds: no client can block the others for long, nor the program at
//! all.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::{
    Method, Request, StatusCode,
    body::{Body, Incoming},
    header::{ALLOW, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use kaspath_domain::{IpPrefix, MonotonicClock};
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet, spawn_blocking},
    time::{sleep, timeout},
};

use crate::{
    Content, Source, Token,
    access::{Access, ByToken, Verdict, is_cross_site},
    live::{LISTENING, Live},
    reply::{self, JSON, Reply, line, set, whole},
    routes::{Route, login_form, page},
    table::{Held, Table},
};

/// Time for a request's first line and headers.
const HEADERS: Duration = Duration::from_secs(5);
/// Time for a whole request and its answer.
const REQUEST: Duration = Duration::from_secs(10);
/// Bytes of a request's first line and headers, and their number.
const MAX_HEADER_BYTES: usize = 8 << 10;
const MAX_HEADERS: usize = 64;
/// After an accept that failed, as for want of file descriptors.
const RETRY: Duration = Duration::from_secs(1);
/// The media type of the OpenMetrics text format.
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why there is no server.
#[derive(Debug, Error)]
pub enum BindError {
    /// Everybody could read the status.
    #[error(
        "the web page at {0} could be read by others than this machine's users: give it a loopback address such as 127.0.0.1:4002, \
         or a token (--web-token-file)"
    )]
    WithoutToken(SocketAddr),
    /// The system failed.
    #[error("no web page at {address}: {cause}; give another address with --web-listen")]
    Io {
        /// Where.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
}

/// A server that listens.
pub struct Web {
    listener: TcpListener,
    address: SocketAddr,
    access: Access,
}

impl Web {
    /// Listens at `address`: to everybody who knows the token; without one on loopback
    /// only, to everybody on this machine. Call it within a tokio runtime.
    ///
    /// # Errors
    /// If the address needs a token and there is none, or the system fails.
    pub fn bind(address: SocketAddr, token: Option<Token>) -> Result<Self, BindError> {
        if token.is_none() && !address.ip().to_canonical().is_loopback() {
            return Err(BindError::WithoutToken(address));
        }
        let failed = |cause| BindError::Io { address, cause };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let access = token.map_or(Access::Local, |token| Access::ByToken(ByToken::new(token, address.port())));
        Ok(Self { listener, address, access })
    }

    /// Where it listens; its port is never 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests. Runs until it is dropped, which closes all connections.
    pub async fn serve(self, content: Content) {
        let shared = Shared { access: self.access, content, live: Live::new(), clock: MonotonicClock::start() };
        let shared = Arc::new(shared);
        tokio::select! {
            () = shared.live.keep_up(&shared.content) => {}
            () = accept(&self.listener, &shared) => {}
        }
    }
}

/// What all connections use.
struct Shared {
    access: Access,
    content: Content,
    live: Live,
    clock: MonotonicClock,
}

struct Connection {
    task: AbortHandle,
    busy: Arc<AtomicBool>,
}

impl Held for Connection {
    fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    fn close(&self) {
        self.task.abort();
    }
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let (mut tasks, mut table) = (JoinSet::new(), Table::default());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => continue,
        };
        match accepted {
            Ok((stream, remote)) => {
                let host = IpPrefix::host(remote.ip());
                if table.make_room(host) {
                    let busy = Arc::new(AtomicBool::new(false));
                    let task = tasks.spawn(converse(stream, host, shared.clone(), busy.clone()));
                    table.add(host, Connection { task, busy });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no connection to the web page can be accepted");
                sleep(RETRY).await;
            }
        }
    }
}

/// Answers one request: to keep connections open would gain little and leave them idle.
async fn converse(stream: TcpStream, host: IpPrefix, shared: Arc<Shared>, busy: Arc<AtomicBool>) {
    let listening = AtomicBool::new(false);
    let answer = |request: Request<Incoming>| {
        busy.store(true, Ordering::Relaxed);
        let is_listener = Route::of(request.uri().path()) == Some(Route::Events);
        let (shared, listening) = (&shared, &listening);
        async move {
            let reply = shared.answer(&request, host).await;
            listening.store(is_listener && reply.status() == StatusCode::OK, Ordering::Relaxed);
            Ok::<_, Infallible>(reply)
        }
    };
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .max_header_size(MAX_HEADER_BYTES)
            .max_headers(MAX_HEADERS)
            .max_buf_size(2 * MAX_HEADER_BYTES)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service_fn(answer))
    );
    // A connection that ends with an error is the remote's matter.
    if timeout(REQUEST, &mut connection).await.is_err() && listening.load(Ordering::Relaxed) {
        let _ = timeout(LISTENING, connection).await;
    }
}

impl Shared {
    async fn answer(&self, request: &Request<Incoming>, host: IpPrefix) -> Reply {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut reply = line(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered");
            set(&mut reply, ALLOW, "GET, HEAD");
            return reply;
        }
        if !request.body().is_end_stream() {
            return line(StatusCode::PAYLOAD_TOO_LARGE, "a request has no body");
        }
        // A proxy's form of a request names a host of its own.
        let route = if request.uri().authority().is_none() { Route::of(request.uri().path()) } else { None };
        let Some(route) = route else { return line(StatusCode::NOT_FOUND, "there is no such page") };
        match route {
            Route::Health => return line(StatusCode::OK, "alive"),
            Route::File(kind, text) => return whole(StatusCode::OK, kind, text),
            _ => {}
        }
        match self.access.verdict(request.headers(), host, self.clock.now()) {
            Verdict::Allowed => self.allowed(route, request).await,
            verdict => refusal(&verdict, route),
        }
    }

    /// Answers a request that may be answered.
    async fn allowed(&self, route: Route, request: &Request<Incoming>) -> Reply {
        match route {
            Route::Page => page(),
            // It could not read the answer, but have us make one again and again.
            Route::Status | Route::Events | Route::Metrics | Route::Ready if is_cross_site(request.headers()) => {
                line(StatusCode::FORBIDDEN, "another site's page may not ask")
            }
            Route::Status => self.made(&self.content.status, |status| whole(StatusCode::OK, JSON, status)).await,
            // Of a body that is never sent there would be no end.
            Route::Events if request.method() == Method::HEAD => {
                line(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here")
            }
            Route::Events => match self.live.listen(&self.content) {
                Some(events) => reply::events(events),
                None => later("too many listen already", Duration::from_secs(5)),
            },
            Route::Metrics => match &self.content.metrics {
                Some(metrics) => self.made(metrics, |text| whole(StatusCode::OK, METRICS, text)).await,
                None => line(StatusCode::NOT_FOUND, "this program has no metrics"),
            },
            Route::Ready => {
                let ready = |ready| match ready {
                    Ok(()) => line(StatusCode::OK, "ready"),
                    Err(cause) => line(StatusCode::SERVICE_UNAVAILABLE, &format!("not ready: {cause}")),
                };
                self.made(&self.content.ready, ready).await
            }
            Route::Login => {
                let mut reply = whole(StatusCode::NO_CONTENT, reply::TEXT, "");
                if let Access::ByToken(by_token) = &self.access {
                    set(&mut reply, SET_COOKIE, &by_token.set_cookie());
                }
                reply
            }
            Route::Health | Route::File(..) => line(StatusCode::NOT_FOUND, "there is no such page"),
        }
    }

    /// What the program says, which may take it a moment.
    async fn made<T: Send + 'static>(&self, source: &Source<T>, reply: impl FnOnce(T) -> Reply) -> Reply {
        let source = source.clone();
        match spawn_blocking(move || source()).await {
            Ok(made) => reply(made),
            Err(_) => line(StatusCode::INTERNAL_SERVER_ERROR, "this program has a defect, its log says which"),
        }
    }
}

/// The answer to a request that may not be answered.
fn refusal(verdict: &Verdict, route: Route) -> Reply {
    match verdict {
        Verdict::OtherHost => line(
            StatusCode::FORBIDDEN,
            "this page answers to the names of this machine alone: localhost, 127.0.0.1 or [::1]; behind a proxy it needs a token \
             (--web-token-file)",
        ),
        Verdict::Wait(time) => later("too many wrong tokens came from your address", *time),
        _ => {
            let mut reply = match route {
                Route::Page => login_form(),
                _ => line(StatusCode::UNAUTHORIZED, "the token is missing or wrong: send it as `Authorization: Bearer TOKEN`"),
            };
            set(&mut reply, WWW_AUTHENTICATE, "Bearer");
            reply
        }
    }
}

/// A refusal for now.
fn later(why: &str, time: Duration) -> Reply {
    let (status, seconds) = (StatusCode::TOO_MANY_REQUESTS, time.as_secs_f64().ceil());
    let mut reply = line(status, &format!("{why}: try again in {seconds} s"));
    set(&mut reply, RETRY_AFTER, &seconds.to_string());
    reply
}
