//! The status page.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Result, bail};

use super::{file::ConfigFile, paths::expand};
use crate::cli::Command;

/// A status page that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WebSettings {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// The file with the token that readers need.
    pub(crate) token_file: Option<PathBuf>,
}

pub(super) fn resolve(
    command: &Command,
    file: &ConfigFile,
    lookup: &impl Fn(&str) -> Option<String>,
) -> Result<Option<WebSettings>> {
    let Some(args) = command.common().map(|common| &common.web) else { return Ok(None) };
    let token_file = args.web_token_file.as_deref().or(file.web.token_file.as_deref());
    let token_file = token_file.map(|path| expand(path, lookup)).transpose()?;
    let Some(listen) = args.web_listen.or(file.web.listen) else {
        if args.web_token_file.is_some() {
            bail!("--web-token-file is for a status page, and there is none: give --web-listen as well");
        }
        return Ok(None);
    };
    if token_file.is_none() && !listen.ip().to_canonical().is_loopback() {
        bail!(
            "at {listen} everybody who reaches this machine could read the status page: give --web-listen a loopback address \
             such as 127.0.0.1:4002, or give --web-token-file"
        );
    }
    Ok(Some(WebSettings { listen, token_file }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;

    #[test]
    fn there_is_a_page_only_if_it_is_asked_for_and_elsewhere_than_on_loopback_only_with_a_token() {
        let web = |args: &[&str]| settings(args, &[]).map(|settings| settings.web);
        assert_eq!(web(&["server"]).unwrap(), None);
        for loopback in ["127.0.0.1:4002", "[::1]:4002", "127.1.2.3:0", "[::ffff:127.0.0.1]:1"] {
            assert!(web(&["relay", "--web-listen", loopback]).unwrap().is_some_and(|web| web.token_file.is_none()), "{loopback}");
        }
        for other in ["0.0.0.0:4002", "[::]:4002", "192.168.1.2:4002", "[fe80::1]:4002"] {
            let error = web(&["gateway", "--web-listen", other]).unwrap_err().to_string();
            assert!(error.contains(other) && error.contains("--web-token-file"), "{error}");
            let with_token = web(&["server", "--web-listen", other, "--web-token-file", "~/t"]).unwrap().unwrap();
            assert_eq!(with_token.token_file.unwrap().to_str(), Some("/home/u/t"), "{other}");
        }
        assert!(web(&["server", "--web-token-file", "/t"]).unwrap_err().to_string().contains("--web-listen"));
    }

    #[test]
    fn a_flag_comes_before_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kaspath.toml");
        std::fs::write(&path, "[web]\nlisten = \"127.0.0.1:1\"\ntoken-file = \"/a\"\n").unwrap();
        let web =
            |args: &[&str]| settings(&[&["server", "-c", path.to_str().unwrap()], args].concat(), &[]).unwrap().web.unwrap();
        let (by_file, by_flag) = (web(&[]), web(&["--web-listen", "127.0.0.1:2", "--web-token-file", "/b"]));
        assert_eq!((by_file.listen.port(), by_flag.listen.port()), (1, 2));
        assert_eq!([by_file, by_flag].map(|web| web.token_file.unwrap().display().to_string()), ["/a", "/b"]);
    }
}
