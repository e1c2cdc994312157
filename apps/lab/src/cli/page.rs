use std::path::PathBuf;

use clap::Args;

use super::common::CommonArgs;

#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Write pictures of the page there: status-wide.png and status-phone.png.
    #[arg(long, value_name = "DIR")]
    pub(crate) screenshots: Option<PathBuf>,
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/chromedriver")]
    pub(crate) chromedriver: PathBuf,
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/chromium")]
    pub(crate) chromium: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct BrowseArgs {
    /// The page.
    #[arg(long)]
    pub(crate) url: String,
    #[arg(long)]
    pub(crate) screenshots: Option<PathBuf>,
    #[arg(long)]
    pub(crate) chromedriver: PathBuf,
    #[arg(long)]
    pub(crate) chromium: PathBuf,
}
