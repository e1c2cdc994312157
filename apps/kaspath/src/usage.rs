//! Messages about a wrong command line.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::{exit, output};

/// Prints it as clap does; returns the exit code. With `--redact` on the command line
/// no value is repeated: a mistyped address is still an address.
pub(crate) fn explain(error: &clap::Error, args: impl Iterator<Item = OsString>) -> u8 {
    if error.use_stderr() && asks_to_redact(args) {
        output::fatal_lines(&without_values(error), true);
    } else {
        let _ = error.print();
    }
    u8::try_from(error.exit_code()).unwrap_or(exit::USAGE)
}

fn asks_to_redact(mut args: impl Iterator<Item = OsString>) -> bool {
    // What follows `--` is another program's.
    args.by_ref().take_while(|arg| arg != "--").any(|arg| arg == "--redact")
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
        assert!(asks_to_redact(args(&["kaspath", "run", "--redact", "--", "kaspad"])));
        assert!(!asks_to_redact(args(&["kaspath", "run", "--", "kaspad", "--redact"])));
    }
}
