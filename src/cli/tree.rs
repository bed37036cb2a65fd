//! The whole command line as one definition, made of those that each command parses with; what
//! completions and manual pages are generated from.

use clap::{Arg, ArgAction};

use super::flags::{is_boolean, plain};
use super::{COMMANDS, Command, Definition, VERSION};

/// `herald` with all its commands.
pub(super) fn tree() -> clap::Command {
    clap::Command::new("herald")
        .about("DNS-first service discovery")
        .version(VERSION)
        .disable_version_flag(true)
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .arg(help())
        .subcommands(COMMANDS.iter().map(command))
}

fn command(command: &Command) -> clap::Command {
    match command.definition {
        Definition::Flags(definition) => leaf(command.name, command.about, &definition()),
        Definition::Below(commands) => clap::Command::new(command.name)
            .about(command.about)
            .disable_help_flag(true)
            .disable_help_subcommand(true)
            .subcommand_required(true)
            .arg(help())
            .subcommands(commands.iter().map(self::command)),
    }
}

/// A command with its flags as people type them: in order, and booleans alone.
fn leaf(name: &'static str, about: &'static str, command: &clap::Command) -> clap::Command {
    let named = clap::Command::new(name)
        .about(about)
        .long_about(plain(command.get_long_about().or(command.get_about())))
        .disable_help_flag(true)
        .arg(help());
    let mut arguments: Vec<&Arg> = command.get_arguments().collect();
    arguments.sort_by_key(|argument| argument.get_long());
    let places = arguments.into_iter().zip(1..);
    places.fold(named, |named, (argument, place)| {
        let argument = if is_boolean(argument) {
            Arg::new(argument.get_id().clone())
                .action(ArgAction::SetTrue)
                .long(argument.get_long().unwrap_or_default().to_owned())
                .help(plain(argument.get_help()))
        } else {
            let help = plain(argument.get_help());
            argument.clone().help(help)
        };
        named.arg(argument.display_order(place))
    })
}

fn help() -> Arg {
    Arg::new("help")
        .short('h')
        .action(ArgAction::Help)
        .display_order(0)
        .help("Show help")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_command_line_is_sound() {
        tree().debug_assert();
    }

    #[test]
    fn every_flag_says_what_it_does() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments() {
                let (command, argument, said) =
                    (command.get_name(), argument.get_id(), argument.get_help());
                let said = said.is_some_and(|text| !text.to_string().is_empty());
                assert!(said, "{command} {argument}");
            }
            command.get_subcommands().for_each(check);
        }
        check(&tree());
    }
}
