//! Failure: why a command stops, and what to do next.

use std::error::Error;
use std::process::ExitCode;

use super::terminal;
use crate::config::ConfigError;

/// `EX_USAGE` of sysexits.h: the command or its configuration is wrong.
pub const EXIT_USAGE: u8 = 64;
const EXIT_FAILED: u8 = 1;

/// An error for a person: what, why, and the next step.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    what: String,
    #[source]
    cause: Option<Box<dyn Error + Send + Sync>>,
    next: Option<String>,
}

impl Failure {
    /// What could not be done, as a lowercase fragment.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), cause: None, next: None }
    }

    /// Why.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// What the reader may try.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

/// Tells the whole chain of an error and a next step on standard error, and gives the exit status: 64 for a
/// configuration that is wrong, else 1.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let (code, text) = told(error);
    terminal::error(&text);
    ExitCode::from(code)
}

fn told(error: &anyhow::Error) -> (u8, String) {
    let chain: Vec<_> = chain(error).iter().map(|text| text.trim_end().replace('\n', "\n    ")).collect();
    let mut text = format!("error: {}", chain.join("\n  because: "));
    let next = error.chain().find_map(|cause| cause.downcast_ref::<Failure>()?.next.clone());
    let wrong = error.chain().any(|cause| cause.is::<ConfigError>());
    let next = next.or_else(|| wrong.then(|| CONFIG_HELP.to_owned()));
    if let Some(next) = next {
        text.push_str(&format!("\n  next: {next}"));
    }
    (if wrong { EXIT_USAGE } else { EXIT_FAILED }, text)
}

/// The texts of an error and its causes, without those that the one before spells out itself.
pub(super) fn chain(error: &anyhow::Error) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if !texts.last().is_some_and(|shown| shown.contains(&cause)) {
            texts.push(cause);
        }
    }
    texts
}

const CONFIG_HELP: &str = "`hotseat run --help` lists every setting; `hotseat run --print-config` shows a configuration that is valid";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_told_once_with_a_next_step() {
        let inner = std::io::Error::other("disk on fire");
        let failure = Failure::new("cannot write x").cause(inner).next("use another disk");
        let error = anyhow::Error::new(failure).context("cannot deploy");
        let (code, text) = told(&error);
        assert_eq!(code, EXIT_FAILED);
        assert_eq!(
            text,
            "error: cannot deploy\n  because: cannot write x\n  because: disk on fire\n  next: use another disk"
        );
    }

    #[test]
    fn a_wrong_configuration_is_a_usage_error() {
        let error = ConfigError::Unknown { key: "x".into(), origin: "y".into(), nearest: None };
        let (code, text) = told(&anyhow::Error::new(error));
        assert_eq!(code, EXIT_USAGE);
        assert!(text.starts_with("error: unknown key x in y\n  next: `hotseat run --help`"), "{text}");
    }
}
