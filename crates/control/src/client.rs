//! One program that asks another.

use std::{
    error::Error as StdError,
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
    /// This user may not connect.
    #[error("the control socket {0} may not be used: it is for its owner and its group (--control-group)")]
    NotAllowed(PathBuf),
    /// There is no answer, or one that is not understood.
    #[error("the program at {path} does not answer: {cause}")]
    Failed {
        /// The socket.
        path: PathBuf,
        /// Why.
        cause: Box<dyn StdError + Send + Sync>,
    },
    /// The program refuses; why.
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
                _ => AskError::Failed { path, cause: cause.into() },
            }
        })?;
        Ok(Self { path: path.into(), stream: BufReader::new(stream) })
    }

    /// Asks, and waits for the answer, at most ten seconds for each part of it.
    ///
    /// # Errors
    /// If none comes, or it is [`Answer::Error`].
    pub fn ask(&mut self, request: &Request) -> Result<Answer, AskError> {
        match self.exchange(request) {
            Ok(Answer::Error { text }) => Err(AskError::Refused(text)),
            Ok(answer) => Ok(answer),
            Err(cause) => Err(AskError::Failed { path: self.path.clone(), cause }),
        }
    }

    fn exchange(&mut self, request: &Request) -> Result<Answer, Box<dyn StdError + Send + Sync>> {
        self.stream.get_mut().write_all(&line(request, MAX_REQUEST)?)?;
        let mut answer = Vec::new();
        if (&mut self.stream).take(MAX_ANSWER as u64 + 2).read_until(b'\n', &mut answer)? == 0 {
            return Err("it closed the connection".into());
        }
        Ok(parse(&answer, MAX_ANSWER)?)
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, thread};

    use super::*;

    #[test]
    fn a_socket_that_is_missing_and_one_of_a_dead_program_have_different_errors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.sock");
        let error = || Client::connect(&path).unwrap_err();
        assert!(matches!(error(), AskError::NotRunning { stale: false, .. }));
        drop(UnixListener::bind(&path).unwrap());
        assert!(matches!(error(), AskError::NotRunning { stale: true, .. }));
        assert!(error().to_string().contains("has died"));
    }

    #[test]
    fn an_endless_answer_and_an_invalid_one_are_errors() {
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
