//! `herald validate`: checks configuration files without starting anything.

use anyhow::Context;

use super::{Exit, flags, print};
use crate::config::{Config, Flags, Format};

/// Checks that an agent would start from these configuration files and directories.
#[derive(Debug, clap::Parser)]
pub(super) struct Options {
    /// Say nothing if all is well.
    #[arg(long, num_args = 0..=1, default_value_t = false)]
    quiet: bool,
    /// Language of all files, whatever their names: hcl or json.
    #[arg(long, value_name = "language")]
    config_format: Option<Format>,
    /// Files and directories to check.
    #[arg(value_hint = clap::ValueHint::AnyPath)]
    files: Vec<std::path::PathBuf>,
}

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let options: Options = flags::parse("validate", arguments)?;
    if options.files.is_empty() {
        return Err(anyhow::anyhow!("Must specify at least one config file or directory").into());
    }
    let flags = Flags {
        files: options.files,
        format: options.config_format,
        ..Flags::default()
    };
    let checked = Config::load(&flags).and_then(|config| config.check_zones());
    checked.context("Config validation failed")?;
    if !options.quiet {
        print("Configuration is valid!\n");
    }
    Ok(())
}
