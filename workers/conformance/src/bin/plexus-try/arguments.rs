//! What may be typed.

use clap::Parser;
use std::path::PathBuf;

/// Call a connector in its cage, without a gateway, and see what the cage refuses
#[derive(Parser)]
#[command(name = "cargo xtask try", bin_name = "cargo xtask try")]
pub(crate) struct Arguments {
    /// The connector: a folder of workers/
    pub(crate) name: String,
    /// The capability, as the manifest names it
    pub(crate) capability: String,
    /// Its input: a JSON object
    #[arg(default_value = "{}")]
    pub(crate) input: String,
    /// The folder that the source is opened on
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Further field of the source's configuration; may be given again
    #[arg(long, value_name = "FIELD=VALUE")]
    pub(crate) config: Vec<String>,
    /// Secret of the source; may be given again
    #[arg(long, value_name = "FIELD=FILE")]
    pub(crate) secret: Vec<String>,
    /// Commit an effect, on a copy of the folder that is thrown away afterwards
    #[arg(long)]
    pub(crate) commit: bool,
    /// How long the call may take, in seconds
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub(crate) within: u64,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Where the programs are
    #[arg(long, value_name = "DIR")]
    pub(crate) programs: PathBuf,
    /// Another manifest than workers/NAME/manifest.json
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// Another profile than sandbox-profiles/NAME.sb
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
}

pub(crate) fn parse() -> Arguments {
    Arguments::parse()
}
