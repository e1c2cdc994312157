//! What is printed beside a program's events: how it ends, and answers of commands.

use std::io::Write;

use anyhow::{Context, Result};

use super::{
    console::{Stream, console},
    line,
    own::ProgramEvent,
    redact, safe,
    settings::OutputSettings,
};
use crate::{
    cli::LogFormat,
    exit,
    level::{Level, Subsystem},
};

/// Causes of one error.
const MAX_CAUSES: usize = 16;

/// Prints the error that ends the program: with JSON as the last event, else on standard
/// error. Its lines may hold a remote's words.
pub(crate) fn failed(error: &anyhow::Error, settings: OutputSettings) {
    let cause = safe::tidy(&format!("{error:#}"));
    match settings.format {
        LogFormat::Json => {
            let causes = error.chain().take(MAX_CAUSES).map(|cause| safe::tidy(&cause.to_string())).collect();
            print_failed(&ProgramEvent::Failed { code: exit::FAILURE, cause, causes }, settings);
        }
        LogFormat::Text if console().settings().is_some() => {
            print_error(&cause, settings.redact);
        }
        LogFormat::Text => console().always(Stream::Err, &safe::line(&format!("error: {cause}"), settings.redact)),
    }
}

/// The same for a wrong flag, file or variable: an error that is all our own, in several
/// lines.
pub(crate) fn refused(text: &str, settings: OutputSettings) {
    match settings.format {
        LogFormat::Json => {
            let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
            let cause = lines.join(" ").trim_start_matches("error: ").to_owned();
            print_failed(&ProgramEvent::Failed { code: exit::USAGE, causes: vec![cause.clone()], cause }, settings);
        }
        LogFormat::Text => console().always(Stream::Err, &safe::lines(text, settings.redact)),
    }
}

fn print_failed(event: &ProgramEvent, settings: OutputSettings) {
    let line = line::json(Level::Error, Subsystem::Program, event, Some(&event.sentence()), settings.redact);
    console().always(Stream::Out, &line);
}

/// Of a program that has begun to print, which is read as a log.
fn print_error(text: &str, redact: bool) {
    console().always(Stream::Err, &line::text(Level::Error, text, redact, console().is_journal(Stream::Err)));
}

/// Says that the program stops, and by what.
pub(crate) fn stopping(signal: &str) {
    print_own(&ProgramEvent::Stopping { signal: signal.to_owned() });
}

/// Says that it has stopped in order.
pub(crate) fn stopped() {
    print_own(&ProgramEvent::Stopped { after: console().elapsed() });
}

/// Only of a program that has begun to print: others have an answer, not events.
fn print_own(event: &ProgramEvent) {
    if let Some(settings) = console().settings() {
        super::Printer::new(settings).own(event);
    }
}

/// A remark beside the answer of a command that ends with it.
pub(crate) fn remark(text: &str) {
    console().always(Stream::Err, &safe::lines(text, false));
}

/// Says that this program itself is at fault. Redacted or not: a file and a line name
/// no address.
pub(crate) fn internal_error(message: &str, location: &str) {
    let message = redact::redact(message);
    let text = format!("internal error: {message}, at {location}; this is a bug, the program ends");
    match console().settings() {
        Some(settings) if settings.format == LogFormat::Json => {
            print_failed(&ProgramEvent::Failed { code: exit::INTERNAL, causes: vec![text.clone()], cause: text }, settings);
        }
        Some(_) => print_error(&text, false),
        None => console().always(Stream::Err, &text),
    }
}

/// Writes what is queued, but does not wait long for a reader that does not read.
pub(crate) fn flush() {
    console().flush();
}

/// Writes the answer of a command that ends with it; this waits for the reader.
pub(crate) fn answer(text: &str, redacted: bool) -> Result<()> {
    let text = if redacted { redact::redact(text) } else { text.to_owned() };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to standard output")
}
