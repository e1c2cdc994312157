//! Running the system's network tools.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// Packages that the tools come from, for the error message.
const PACKAGES: [(&str, &str); 4] = [("ip", "iproute2"), ("nft", "nftables"), ("nsenter", "util-linux"), ("mount", "mount")];

/// Runs a command line (split at spaces) in a namespace, or in ours; its output.
pub(super) fn run(namespace: Option<&str>, line: &str) -> Result<String> {
    run_with_input(namespace, line, "")
}

/// The same, with text on its standard input.
pub(super) fn run_with_input(namespace: Option<&str>, line: &str, input: &str) -> Result<String> {
    let entered = namespace.map(|name| format!("nsenter --net=/run/netns/{name} {line}"));
    let line = entered.as_deref().unwrap_or(line);
    let mut words = line.split_whitespace();
    let program = words.next().context("an empty command")?;
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| {
            let package = PACKAGES.iter().find(|(tool, _)| *tool == program).map_or("?", |(_, package)| package);
            format!("cannot start `{program}`: install the package {package}")
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("`{line}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
