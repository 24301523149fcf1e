//! Log: events as lines on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::SubscriberBuilder;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogFormat;

/// Why nothing is logged.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter does not parse; a checked configuration has one that does.
    #[error("log = {filter:?} is no filter: allowed is a level, or TARGET=LEVEL with commas between")]
    Filter {
        /// As it was given.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Something in this process has set up a logger before.
    #[error("this process logs already")]
    Taken(#[source] tracing_subscriber::util::TryInitError),
}

/// Starts logging for the whole process: text or one JSON object a line, to standard error, colours only on a
/// terminal that has not set `NO_COLOR`.
///
/// # Errors
/// As [`LogError`] says; a second call always fails.
pub fn init(filter: &str, format: LogFormat) -> Result<(), LogError> {
    let parsed = EnvFilter::builder()
        .parse(filter)
        .map_err(|source| LogError::Filter { filter: filter.to_owned(), source })?;
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
    let lines: SubscriberBuilder<_, _, _, _> =
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(parsed).with_ansi(colours);
    match format {
        LogFormat::Text => lines.finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    }
    .map_err(LogError::Taken)
}
