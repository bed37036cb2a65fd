//! `herald man`: manual pages, one for each command.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::tree::tree;
use super::{Exit, VERSION, flags, print};

/// What the library writes before each section: a definition of the apostrophe, once of which is
/// enough.
const APOSTROPHE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// Writes manual pages into a directory, one for each command, as in herald-members.1.
#[derive(Debug, clap::Parser)]
pub(super) struct Options {
    /// Directory to write to; made if it is not there.
    #[arg(value_hint = clap::ValueHint::DirPath)]
    directory: Vec<PathBuf>,
}

pub(super) fn run(arguments: &[String]) -> Result<(), Exit> {
    let options: Options = flags::parse("man", arguments)?;
    let [directory] = options.directory.as_slice() else {
        return Err(anyhow::anyhow!("man needs one directory to write to").into());
    };
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make the directory {}", directory.display()))?;
    let mut root = tree();
    root.build();
    let written = write(&root, directory)?;
    print(&format!(
        "Wrote {written} pages to {}\n",
        directory.display()
    ));
    Ok(())
}

/// Writes the pages of a command and those below it, and returns how many.
fn write(command: &clap::Command, directory: &Path) -> anyhow::Result<usize> {
    let page = Man::new(command.clone()).source(format!("herald {VERSION}"));
    let path = directory.join(page.get_filename());
    std::fs::write(&path, text(command, &page)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    command
        .get_subcommands()
        .try_fold(1, |written, below| Ok(written + write(below, directory)?))
}

/// One page. The library writes flags with two dashes, where people type one.
fn text(command: &clap::Command, page: &Man) -> anyhow::Result<String> {
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    synopsis(command).to_writer(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    let text = String::from_utf8(text)?.replace(APOSTROPHE, "");
    Ok(APOSTROPHE.to_owned() + &text.replace(r"\fB\-\-", r"\fB\-"))
}

fn synopsis(command: &clap::Command) -> Roff {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let mut line = vec![bold(name), roman(" ")];
    if command.has_subcommands() {
        line.push(italic("command"));
        line.push(roman(" "));
    }
    line.push(roman("[options]"));
    for argument in command.get_positionals() {
        line.push(roman(format!(" [{}...]", argument.get_id())));
    }
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]).text(line);
    roff
}
