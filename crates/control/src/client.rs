//! One program that asks another.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;

use crate::{Answer, MAX_ANSWER, MAX_REQUEST, Request, line, parse, socket::connect};

/// Time for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("no node runs here: {path} {}", if *.stale { "is of a program that has died" } else { "is not there" })]
    NotRunning {
        /// Where the socket was looked for.
        path: PathBuf,
        /// Its file is there.
        stale: bool,
    },
    /// It may not be used.
    #[error("the control socket {0} may not be used: it is for its owner and its group (--control-group)")]
    NotAllowed(PathBuf),
    /// It gives no answer, or none that is understood.
    #[error("the program at {path} gives no answer: {cause}")]
    Failed {
        /// The socket.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// It says no; why.
    #[error("{0}")]
    Refused(String),
}

/// A connection to a running program. It blocks.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the program that listens at `path`.
    ///
    /// # Errors
    /// If there is none, or it may not be asked.
    pub fn connect(path: &Path) -> Result<Self, AskError> {
        let connected = connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            Ok(stream)
        });
        let stream = connected.map_err(|cause| {
            let path = path.to_owned();
            match cause.kind() {
                io::ErrorKind::NotFound => AskError::NotRunning { path, stale: false },
                io::ErrorKind::ConnectionRefused => AskError::NotRunning { path, stale: true },
                io::ErrorKind::PermissionDenied => AskError::NotAllowed(path),
                _ => AskError::Failed { path, cause: cause.to_string() },
            }
        })?;
        Ok(Self { path: path.into(), stream: BufReader::new(stream) })
    }

    /// Asks, and waits for the answer, at most ten seconds for each part of it.
    ///
    /// # Errors
    /// If none comes, or it is [`Answer::Error`].
    pub fn ask(&mut self, request: &Request) -> Result<Answer, AskError> {
        let failed = |cause: String| AskError::Failed { path: self.path.clone(), cause };
        let request = line(request, MAX_REQUEST).map_err(|error| failed(error.to_string()))?;
        let mut answer = Vec::new();
        let exchanged = self.stream.get_mut().write_all(&request).and_then(|()| {
            let mut bounded = (&mut self.stream).take(MAX_ANSWER as u64 + 2);
            bounded.read_until(b'\n', &mut answer)
        });
        if exchanged.map_err(|error| failed(error.to_string()))? == 0 {
            return Err(failed("it closed the connection".to_owned()));
        }
        match parse(&answer, MAX_ANSWER).map_err(|error| failed(error.to_string()))? {
            Answer::Error { text } => Err(AskError::Refused(text)),
            answer => Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use super::*;

    #[test]
    fn nobody_there_and_nobody_there_any_more_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.sock");
        let error = || Client::connect(&path).unwrap_err();
        assert!(matches!(error(), AskError::NotRunning { stale: false, .. }));
        drop(UnixListener::bind(&path).unwrap());
        assert!(matches!(error(), AskError::NotRunning { stale: true, .. }));
        assert!(error().to_string().contains("has died"));
    }

    #[test]
    fn an_answer_without_end_and_one_that_is_none_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let hostile = thread::spawn(move || {
            for answer in [vec![b'x'; MAX_ANSWER + 10], b"{}\n".to_vec(), Vec::new()] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = String::new();
                BufReader::new(&mut stream).read_line(&mut request).unwrap();
                let _ = stream.write_all(&answer);
            }
        });
        let ask = || Client::connect(&path).unwrap().ask(&Request::Status {}).unwrap_err().to_string();
        for expected in ["longer than", "`version` is missing", "closed the connection"] {
            let error = ask();
            assert!(error.contains(expected), "{error}");
        }
        hostile.join().unwrap();
    }
}
