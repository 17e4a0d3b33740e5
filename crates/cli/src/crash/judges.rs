//! Which judges look at what is left, as options of a command line.

use std::sync::Arc;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Args, FromArgMatches};
use dmlab::crash::{JUDGES, Judge, judge_of_words};

/// The group of all options that ask for a judge.
pub(super) const GROUP: &str = "judges";
/// The one that asks for a judge by its name.
const BY_NAME: &str = "judge";

/// The judges that were asked for.
pub(super) struct Judges(pub(super) Vec<Arc<dyn Judge>>);

impl Args for Judges {
    fn augment_args(command: clap::Command) -> clap::Command {
        let kinds: Vec<String> =
            JUDGES.iter().map(|kind| format!("{}:{} checks {}", kind.name, kind.form, kind.checks)).collect();
        let help = format!("Also ask this judge about each state, before CHECK: {}", kinds.join("; "));
        let by_name = Arg::new(BY_NAME).long(BY_NAME).value_name("NAME:WORDS").help(help);
        let parser = ValueParser::new(judge_of_words);
        let command = command.arg(by_name.action(ArgAction::Append).value_parser(parser));
        // Each kind's name is an option of its own as well.
        let command = JUDGES.iter().fold(command, |command, &kind| {
            let arg = Arg::new(kind.name).long(kind.name).value_name(kind.form).hide(true);
            let parser = ValueParser::new(|words: &str| kind.judge(words));
            command.arg(arg.action(ArgAction::Append).value_parser(parser))
        });
        let names = JUDGES.iter().map(|kind| kind.name).chain([BY_NAME]);
        command.group(ArgGroup::new(GROUP).args(names).multiple(true))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Judges::augment_args(command)
    }
}

impl FromArgMatches for Judges {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Judges, clap::Error> {
        let mut judges = Judges(Vec::new());
        judges.update_from_arg_matches(matches)?;
        Ok(judges)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for name in JUDGES.iter().map(|kind| kind.name).chain([BY_NAME]) {
            let found = matches.try_get_many::<Arc<dyn Judge>>(name);
            let found = found.map_err(|error| clap::Error::raw(ErrorKind::UnknownArgument, error))?;
            self.0.extend(found.into_iter().flatten().cloned());
        }
        Ok(())
    }
}
