//! Lines of another program.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::{Child, Command},
};

use super::{
    console::{Stream, console},
    printer::Printer,
    safe,
};
use crate::cli::LogFormat;

/// Bytes of a line; what is longer comes as several.
const MAX_LINE: u64 = 8 << 10;

impl Printer {
    /// Has the output of a program go through [`Printer::follow_child`] where
    /// addresses are to be hidden. Elsewhere it keeps our own streams.
    pub(crate) fn redirect_child(&self, command: &mut Command) {
        if self.settings.redact {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
    }

    /// Prints a program's lines without addresses, until it closes its output.
    pub(crate) fn follow_child(&self, child: &mut Child) {
        // With JSON, standard output is for events.
        let out = if self.settings.format == LogFormat::Json { Stream::Err } else { Stream::Out };
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(pass_on(stdout, out));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(pass_on(stderr, Stream::Err));
        }
    }
}

async fn pass_on(from: impl AsyncRead + Unpin, to: Stream) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut from).take(MAX_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => console().always(to, &safe::line(String::from_utf8_lossy(&line).trim_end(), true)),
        }
    }
}
