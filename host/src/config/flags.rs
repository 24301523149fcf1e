//! Flags: every setting as a flag of `hotseat run` and `hotseat dev`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{Config, KEYS};

/// What the command line says about settings. Values are checked by [`Config::load`], together with those of
/// the other layers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFlags {
    /// The file to read instead of `hotseat.toml`.
    pub config: Option<PathBuf>,
    /// The texts given per key (`grpc_listen`, not `--grpc-listen`).
    pub values: BTreeMap<String, Vec<String>>,
}

impl RunFlags {
    /// These flags and one more, as `--key value` adds it.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.values.entry(key.to_owned()).or_default().push(value.into());
        self
    }
}

const CONFIG: &str = "config";

impl clap::Args for RunFlags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("Read this file instead of hotseat.toml in the working directory")
            .help_heading("Configuration");
        let defaults = Config::default();
        defaults.values().into_iter().fold(command.arg(config), |command, (key, default)| {
            debug_assert!(KEYS.iter().any(|known| known.name == key.name));
            let default = match default {
                Some(toml::Value::String(text)) => format!(" [default: {text}]"),
                Some(toml::Value::Table(_)) | None => String::new(),
                Some(toml::Value::Array(_)) => " [default: all]".into(),
                Some(other) => format!(" [default: {other}]"),
            };
            let help = key.help.trim().trim_end_matches('.').replace('`', "");
            let action = if key.repeatable { ArgAction::Append } else { ArgAction::Set };
            command.arg(
                Arg::new(key.name)
                    .long(key.flag())
                    .value_name(key.placeholder)
                    .help(format!("{help}{default}"))
                    .help_heading(key.heading)
                    .action(action),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for RunFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.config = matches.get_one::<PathBuf>(CONFIG).cloned();
        for key in KEYS {
            if matches.value_source(key.name) == Some(ValueSource::CommandLine) {
                let values = matches.get_many::<String>(key.name).unwrap_or_default().cloned().collect();
                self.values.insert(key.name.to_owned(), values);
            }
        }
        Ok(())
    }
}
