//! What kaspad's own flags, environment and file say, as far as it matters here.

use std::{collections::HashMap, fs};

use anyhow::{Context, Result, bail};
use kaspath_kaspa_adaptor::KaspaNetwork;
use toml::{Table, Value};

/// Flags without a value.
const SWITCHES: [&str; 4] = ["testnet", "simnet", "devnet", "disable-upnp"];
/// Flags with one.
const VALUES: [&str; 6] = ["listen", "rpclisten-json", "netsuffix", "externalip", "maxinpeers", "connect"];

/// The environment variable that kaspad reads for a flag.
fn variable(flag: &str) -> String {
    let name = if flag == "connect" { "connectpeers" } else { flag };
    format!("KASPAD_{}", name.to_ascii_uppercase().replace('-', "_"))
}

/// A kaspad command, and what it asks for: flags first, then kaspad's own
/// environment variables, then its configuration file, as kaspad ranks them.
#[derive(Clone, Debug, Default)]
pub(crate) struct KaspadFlags {
    pub(crate) program: String,
    pub(crate) args: Vec<String>,
    /// Of a flag that is given several times the last one.
    values: HashMap<&'static str, String>,
    switches: Vec<&'static str>,
}

impl KaspadFlags {
    /// Reads a command line; `lookup` reads an environment variable.
    pub(crate) fn read(command: &[String], lookup: &impl Fn(&str) -> Option<String>) -> Result<Self> {
        let Some((program, args)) = command.split_first() else { bail!("which kaspad? give it after `--`") };
        let mut flags = Self { program: program.clone(), args: args.to_vec(), ..Self::default() };
        let file = match config_file(args).or_else(|| lookup("KASPAD_CONFIGFILE")) {
            Some(path) => read_file(&path)?,
            None => Table::new(),
        };
        for name in SWITCHES {
            let given = args.contains(&format!("--{name}"));
            let in_environment =
                lookup(&variable(name)).is_some_and(|value| !matches!(value.as_str(), "" | "0" | "false" | "no" | "off"));
            if given || in_environment || file.get(name).and_then(Value::as_bool) == Some(true) {
                flags.switches.push(name);
            }
        }
        for name in VALUES {
            let prefix = format!("--{name}=");
            let bare = format!("--{name}");
            let given = args
                .iter()
                .filter_map(|arg| arg.strip_prefix(&prefix).or_else(|| (*arg == bare).then_some("default")))
                .next_back()
                .map(str::to_owned);
            let value = given.or_else(|| lookup(&variable(name))).or_else(|| file.get(name).and_then(in_file));
            flags.values.extend(value.map(|value| (name, value)));
        }
        Ok(flags)
    }

    /// A flag's value.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Whether a flag is set.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.switches.contains(&name)
    }

    /// The network that kaspad will be on.
    pub(crate) fn network(&self) -> Result<KaspaNetwork> {
        let suffix = self.value("netsuffix");
        match (self.has("testnet"), self.has("simnet"), self.has("devnet")) {
            (false, false, false) => Ok(KaspaNetwork::Mainnet),
            (true, false, false) if suffix.is_none_or(|suffix| suffix == "10") => Ok(KaspaNetwork::Testnet10),
            (true, false, false) => bail!("testnet-{} is unknown here; only testnet-10 is", suffix.unwrap_or_default()),
            (false, true, false) => Ok(KaspaNetwork::Simnet),
            (false, false, true) => Ok(KaspaNetwork::Devnet),
            _ => bail!("kaspad is asked for several networks at once: keep one of --testnet, --simnet and --devnet"),
        }
    }
}

/// `-C file`, `-Cfile`, `--configfile file` and `--configfile=file`.
fn config_file(args: &[String]) -> Option<String> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "-C" || arg == "--configfile" {
            return args.next().cloned();
        }
        if let Some(path) = arg.strip_prefix("--configfile=").or_else(|| arg.strip_prefix("-C")) {
            return Some(path.to_owned());
        }
    }
    None
}

fn read_file(path: &str) -> Result<Table> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read kaspad's configuration file {path}"))?;
    text.parse().with_context(|| format!("in kaspad's configuration file {path}"))
}

fn in_file(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(values) => values.iter().filter_map(in_file).next_back(),
        other => Some(other.to_string()),
    }
}
