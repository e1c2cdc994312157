//! Connections to the control socket, within bounds. Only the owner of the socket and
//! its group can connect at all; even so none of them can block the others.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    task::{AbortHandle, JoinSet, spawn_blocking},
    time::{sleep, timeout},
};

use crate::{Answer, MAX_ANSWER, MAX_REQUEST, ProtocolError, Request, Socket, line, parse};

/// Connections at once. For one more, the oldest of which no request is being answered
/// is closed.
const MAX_CONNECTIONS: usize = 8;
/// How long a connection may be silent between requests.
const IDLE: Duration = Duration::from_secs(30);
/// Time for a line that has begun to be whole.
const LINE: Duration = Duration::from_secs(5);
/// Time for an answer to be taken.
const WRITE: Duration = Duration::from_secs(5);
/// After an accept that failed, as for want of file descriptors.
const RETRY: Duration = Duration::from_secs(1);

type Answering = Arc<dyn Fn(Request) -> Answer + Send + Sync>;

struct Connection {
    task: AbortHandle,
    /// A request of it is being answered.
    busy: Arc<AtomicBool>,
}

impl Socket {
    /// Answers requests by `answering`, which may block: it runs on a thread of its own.
    /// Runs until it is dropped, which closes all connections and removes the socket.
    pub async fn serve(self, answering: impl Fn(Request) -> Answer + Send + Sync + 'static) {
        let answering: Answering = Arc::new(answering);
        let mut tasks = JoinSet::new();
        let mut connections: VecDeque<Connection> = VecDeque::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = tasks.join_next() => continue,
            };
            match accepted {
                Ok((stream, _)) if make_room(&mut connections) => {
                    let busy = Arc::new(AtomicBool::new(false));
                    let task = tasks.spawn(converse(stream, answering.clone(), busy.clone()));
                    connections.push_back(Connection { task, busy });
                }
                Ok(_) => tracing::debug!("a control connection is refused: all others are being answered"),
                Err(error) => {
                    tracing::warn!(%error, "no control connection can be accepted");
                    sleep(RETRY).await;
                }
            }
        }
    }
}

/// Whether there is room for one more; if need be the oldest that waits is closed.
fn make_room(connections: &mut VecDeque<Connection>) -> bool {
    connections.retain(|connection| !connection.task.is_finished());
    if connections.len() < MAX_CONNECTIONS {
        return true;
    }
    let waiting = connections.iter().position(|connection| !connection.busy.load(Ordering::Relaxed));
    let oldest = waiting.and_then(|oldest| connections.remove(oldest));
    oldest.inspect(|connection| connection.task.abort()).is_some()
}

/// Answers one connection's requests until it ends, is silent for too long or breaks a
/// bound.
async fn converse(stream: UnixStream, answering: Answering, busy: Arc<AtomicBool>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    while let Some(received) = next_line(&mut read).await? {
        busy.store(true, Ordering::Relaxed);
        let request = parse::<Request>(&received, MAX_REQUEST);
        // The rest of the line is still to come, and its end is not known.
        let is_last = matches!(request, Err(ProtocolError::TooLong(_)));
        let answer = match request {
            Ok(request) => {
                let answering = answering.clone();
                spawn_blocking(move || answering(request)).await.map_err(io::Error::other)?
            }
            Err(error) => Answer::Error { text: format!("{error}; docs/control.md has the protocol") },
        };
        let answer = line(&answer, MAX_ANSWER)
            .or_else(|error| line(&Answer::Error { text: format!("the answer does not fit: {error}") }, MAX_ANSWER));
        // A slow reader makes room as well as a silent one.
        busy.store(false, Ordering::Relaxed);
        timeout(WRITE, write.write_all(&answer.map_err(io::Error::other)?)).await??;
        if is_last {
            break;
        }
    }
    Ok(())
}

/// The next line, or as much of it as is too much; `None` at the end.
async fn next_line(read: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    if timeout(IDLE, read.fill_buf()).await??.is_empty() {
        return Ok(None);
    }
    let mut line = Vec::new();
    let mut bounded = read.take(MAX_REQUEST as u64 + 2);
    timeout(LINE, bounded.read_until(b'\n', &mut line)).await??;
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream as StdStream,
        path::{Path, PathBuf},
        sync::mpsc,
        time::Instant,
    };

    use super::*;
    use crate::{AskError, Client, socket::connect};

    const TIMEOUT: Duration = Duration::from_secs(20);

    struct Server {
        path: PathBuf,
        _dir: tempfile::TempDir,
        _runtime: tokio::runtime::Runtime,
    }

    /// Answers `status` with an error that says so, and whatever else is asked with a
    /// long one.
    fn server() -> Server {
        server_that(|request| match request {
            Request::Status {} => Answer::Error { text: "as asked".into() },
            _ => Answer::Error { text: "x".repeat(MAX_ANSWER) },
        })
    }

    fn server_that(answering: impl Fn(Request) -> Answer + Send + Sync + 'static) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.sock");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let socket = runtime.block_on(async { Socket::bind(&path, None) }).unwrap();
        runtime.spawn(socket.serve(answering));
        Server { path, _dir: dir, _runtime: runtime }
    }

    fn open(path: &Path) -> StdStream {
        let stream = connect(path).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    fn is_full(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// What a new caller is told; the server takes connections one by one, so that its queue may be full.
    fn refusal(path: &Path) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match Client::connect(path).and_then(|mut client| client.ask(&Request::Status {})) {
                Err(AskError::Refused(text)) => return text,
                Err(AskError::Failed { cause, .. }) if is_full(cause.as_ref()) && Instant::now() < deadline => {
                    std::thread::yield_now();
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_connection_may_ask_again_and_again_also_after_a_mistake() {
        let server = server();
        let mut stream = open(&server.path);
        stream.write_all(b"nonsense\n{\"version\":1,\"request\":\"status\"}\n{\"version\":1,\"request\":\"status\"}").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        let answers: Vec<&str> = answers.lines().collect();
        assert!(answers.len() == 3 && answers[0].contains("not a JSON object"), "{answers:?}");
        assert!(answers[1..].iter().all(|answer| answer.contains("as asked")), "a last line needs no line break: {answers:?}");
    }

    #[test]
    fn an_endless_line_is_refused_and_closed() {
        let server = server();
        let mut stream = open(&server.path);
        // As much as it takes; then it is closed.
        let _ = (0..64).try_for_each(|_| stream.write_all(&[b'x'; 64 << 10]));
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.contains("longer than 65536 bytes"), "{answer}");
        assert_eq!(refusal(&server.path), "as asked");
    }

    #[test]
    fn a_hundred_silent_connections_keep_no_other_out() {
        let server = server();
        let mut held = Vec::new();
        while held.len() < 100 {
            // The server takes them one by one.
            match connect(&server.path) {
                Ok(stream) => held.push(stream),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert_eq!(refusal(&server.path), "as asked");
        let mut first = &held[0];
        first.set_read_timeout(Some(TIMEOUT)).unwrap();
        assert_eq!(first.read(&mut [0]).unwrap(), 0, "the oldest made room");
    }

    #[test]
    fn an_answer_over_the_limit_becomes_an_error() {
        let server = server();
        let asked = Client::connect(&server.path).unwrap().ask(&Request::Peers { after: None });
        assert!(matches!(&asked, Err(AskError::Refused(text)) if text.contains("does not fit")), "{asked:?}");
    }

    #[test]
    fn those_that_are_being_answered_are_not_closed_for_another() {
        let (release, wait) = mpsc::channel::<()>();
        let (wait, (asked, begun)) = (std::sync::Mutex::new(wait), mpsc::channel());
        let server = server_that(move |_| {
            asked.send(()).unwrap();
            wait.lock().unwrap().recv().unwrap();
            Answer::Error { text: "late".into() }
        });
        let mut streams: Vec<StdStream> = (0..MAX_CONNECTIONS).map(|_| open(&server.path)).collect();
        streams.iter_mut().for_each(|stream| stream.write_all(b"{\"version\":1,\"request\":\"status\"}\n").unwrap());
        (0..MAX_CONNECTIONS).for_each(|_| begun.recv_timeout(TIMEOUT).unwrap());
        assert_eq!(open(&server.path).read(&mut [0]).unwrap_or(0), 0, "one more is closed");
        (0..MAX_CONNECTIONS).for_each(|_| release.send(()).unwrap());
        for mut stream in streams {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.contains("late"), "{answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_a_line_that_does_not_end_have_deadlines() {
        for (sent, deadline) in [(&b""[..], IDLE), (b"{\"version\"", LINE)] {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(sent).await.unwrap();
            let begin = tokio::time::Instant::now();
            let answering: Answering = Arc::new(|_| Answer::Error { text: String::new() });
            let ended = converse(theirs, answering, Arc::default()).await.unwrap_err();
            assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
            assert!(begin.elapsed() >= deadline && begin.elapsed() < deadline + RETRY, "{:?}", begin.elapsed());
            drop(ours);
        }
    }
}
