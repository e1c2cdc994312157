//! Messages about a wrong command line.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::{
    cli::LogFormat,
    exit,
    output::{self, OutputSettings},
};

/// Prints it as clap does, or as an event if the command line asks for JSON; returns the
/// exit code. With `--redact` on the command line no value is repeated: a mistyped address
/// is still an address.
pub(crate) fn explain(error: &clap::Error, args: impl Iterator<Item = OsString>) -> u8 {
    let asked = asked_for(args);
    let text = match asked {
        OutputSettings { redact: true, .. } => Some(without_values(error)),
        OutputSettings { format: LogFormat::Json, .. } => Some(error.to_string()),
        _ => None,
    };
    match text.filter(|_| error.use_stderr()) {
        Some(text) => output::refused(&text, asked),
        None => drop(error.print()),
    }
    u8::try_from(error.exit_code()).unwrap_or(exit::USAGE)
}

/// How to print, by a command line that cannot be read as a whole.
fn asked_for(args: impl Iterator<Item = OsString>) -> OutputSettings {
    let mut asked = OutputSettings::default();
    let mut previous = OsString::new();
    // What follows `--` is another program's.
    for arg in args.take_while(|arg| arg != "--") {
        asked.redact |= arg == "--redact";
        if arg == "--log-format=json" || (previous == "--log-format" && arg == "json") {
            asked.format = LogFormat::Json;
        }
        previous = arg;
    }
    asked
}

fn without_values(error: &clap::Error) -> String {
    // Of these two the argument is one of ours; else it may be a stray value.
    let of_ours = matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue);
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) if of_ours => format!(" for {argument}"),
        _ => String::new(),
    };
    format!("error: {}{argument}; --redact hides the rest, run it without to see what is wrong", error.kind())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn redacted(args: &[&str]) -> String {
        without_values(&Cli::try_parse_from([&["kaspath"], args].concat()).unwrap_err())
    }

    #[test]
    fn a_redacted_error_repeats_no_value_and_names_the_flag() {
        for (args, names) in [
            (&["server", "--redact", "--relay", "/ip4/203.0.113/tcp/1"][..], "--relay"),
            (&["gateway", "--redact", "--kaspad", "203.0.113.7x:1"], "--kaspad"),
            (&["server", "--redact", "203.0.113.7x"], "unexpected argument"),
        ] {
            let text = redacted(args);
            assert!(!text.contains("203.0") && text.contains(names) && text.contains("without"), "{text}");
        }
    }

    #[test]
    fn another_programs_flag_is_not_ours() {
        let args = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>().into_iter();
        let asked = asked_for(args(&["kaspath", "run", "--redact", "--log-format", "json", "--", "kaspad"]));
        assert!(asked.redact && asked.format == LogFormat::Json);
        assert!(asked_for(args(&["kaspath", "relay", "--log-format=json"])).format == LogFormat::Json);
        let asked = asked_for(args(&["kaspath", "run", "--", "kaspad", "--redact", "--log-format=json"]));
        assert!(!asked.redact && asked.format == LogFormat::Text);
    }
}
