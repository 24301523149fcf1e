//! `hotseat replay`: what rooms did, done again off-line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;

use super::failure::{self, Failure};
use crate::journal::Cause;
use crate::plugin::Version;
use crate::replay::{Case, Pair, Plugins, ReplayError, Run, Source, States, belongs};

mod printer;

use printer::Told;

/// Exit status: everything was handled, or both versions did the same.
const SAME: u8 = 0;
/// Something failed, or the versions differ.
const DIFFERENT: u8 = 1;
/// It could not be tried.
const NOT_RUN: u8 = 2;

/// Do again off-line what rooms did: dead letters, journals
///
/// FILE is a dead letter (data_dir/dead-letters/*.dead), a segment set aside (journal/aside/*.seg), a segment of a
/// journal, the journal's directory or the data directory around it. The recorded inputs are handed to the plugin
/// once more, in order, with the recorded time, randomness and ids. What it would have sent is shown, and sent to
/// nobody; no file is changed, so the node may be running.
///
/// Without --plugin the version is looked for in the data directory around FILE: the one that failed, for a dead
/// letter, else the one that was live last. With --plugin twice, both get the same inputs, and only what they do
/// differently is shown.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct ReplayArgs {
    /// What to replay
    file: PathBuf,
    /// The artefact to replay it on; give it twice to compare two
    #[arg(long, value_name = "FILE")]
    plugin: Vec<PathBuf>,
    /// This room alone
    #[arg(long, value_name = "NAME")]
    room: Option<String>,
    /// A setting of the plugin in place of the one that was recorded; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    plugin_config: Vec<(String, String)>,
    /// Write one JSON object a line, payloads whole and hexadecimal
    #[arg(long)]
    json: bool,
    /// Write payloads whole
    #[arg(long)]
    full: bool,
    /// Leave out inputs that were handled
    #[arg(long)]
    brief: bool,
}

const AFTER_HELP: &str = "\
Exit status:
  0  every input was handled; with two plugins: they did the same
  1  an input failed, a dead letter's still fails, or the two differ
  2  it could not be tried: no file, no plugin, damage, a state that is not taken over

Examples:
  hotseat replay hotseat-data/dead-letters/home_3-1760000000000-1.dead
  hotseat replay home_3-1760000000000-1.dead --plugin fixed.wasm     does the fix hold?
  hotseat replay hotseat-data --plugin live.wasm --plugin next.wasm  what would change?";

fn setting(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "KEY=VALUE is wanted".to_owned())
}

/// Replays the file. The exit status tells how it went, also when it could not be tried.
///
/// # Errors
/// None; the result is that of the other commands.
pub async fn run(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let replayed = tokio::task::spawn_blocking(move || replay(&args)).await.context("the replay died");
    Ok(match replayed.and_then(|replayed| replayed) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            // That it went wrong is told as by all commands; the status must not be that of a difference.
            failure::report(&error);
            ExitCode::from(NOT_RUN)
        }
    })
}

fn replay(args: &ReplayArgs) -> anyhow::Result<u8> {
    let told = Told { json: args.json, full: args.full, brief: args.brief };
    if args.plugin.len() > 2 {
        return Err(Failure::new(format!("{} plugins: one or two can be replayed", args.plugin.len())).into());
    }
    let settings: BTreeMap<String, String> = args.plugin_config.iter().cloned().collect();
    let failed = |error: ReplayError| failed(&args.file, error);
    let mut source = Source::read(&args.file, &settings).map_err(failed)?;
    if let Some(room) = &args.room {
        source.only(room).map_err(failed)?;
    }
    let plugins = Plugins::start().map_err(failed)?;
    let named: Vec<_> =
        args.plugin.iter().map(|path| plugins.prepare(path)).collect::<Result<_, _>>().map_err(failed)?;
    if let (Some(version), None, None) = (named.first(), &args.room, &source.letter) {
        let before = source.cases.len();
        source.cases.retain(|case| belongs(&case.room, version.manifest()));
        let others = before - source.cases.len();
        if others > 0 {
            source
                .notes
                .push(format!("left out: {others} rooms of other plugins than {}", version.manifest().name));
        }
    }
    told.source(&source);
    if source.cases.is_empty() {
        let what = format!("there is no room to replay in {}", args.file.display());
        return Err(Failure::new(what).into());
    }
    let mut versions = Versions { plugins, named, found: BTreeMap::new() };
    let mut worst = SAME;
    for case in &source.cases {
        let status = match &versions.named[..] {
            [first, second] => compare(case, [first, second], told, &source),
            _ => versions.of(&source, case).and_then(|version| replay_one(case, &version, told, &source)),
        };
        worst = worst.max(status.map_err(failed)?);
    }
    Ok(worst)
}

/// Compiled once each.
struct Versions {
    plugins: Plugins,
    named: Vec<Arc<Version>>,
    found: BTreeMap<PathBuf, Arc<Version>>,
}

impl Versions {
    fn of(&mut self, source: &Source, case: &Case) -> Result<Arc<Version>, ReplayError> {
        if let Some(version) = self.named.first() {
            return Ok(Arc::clone(version));
        }
        let path = Plugins::find(source, case)?;
        if let Some(version) = self.found.get(&path) {
            return Ok(Arc::clone(version));
        }
        let version = self.plugins.prepare(&path)?;
        self.found.insert(path, Arc::clone(&version));
        Ok(version)
    }
}

fn replay_one(case: &Case, version: &Arc<Version>, told: Told, source: &Source) -> Result<u8, ReplayError> {
    let mut run = Run::begin(case, version)?;
    told.room(case, &[version]);
    let mut last = None;
    while let Some(step) = run.step()? {
        told.step(&case.room, &step);
        last = Some(step.happened);
    }
    let summary = run.end();
    told.summary(&case.room, version, &summary);
    match (&source.letter, &last) {
        (Some(about), _) if about.cause == Cause::Unsaved => told.verdict_of_save(about, &summary),
        (Some(about), _) if about.cause == Cause::Closed => told.verdict_of_close(&summary),
        (Some(about), Some(happened)) => told.verdict(about, happened, &summary),
        _ => {}
    }
    Ok(if summary.is_sound() { SAME } else { DIFFERENT })
}

fn compare(
    case: &Case,
    versions: [&Arc<Version>; 2],
    told: Told,
    source: &Source,
) -> Result<u8, ReplayError> {
    let mut pair = Pair::begin(case, versions)?;
    told.room(case, &versions);
    let mut differences = 0;
    while let Some(difference) = pair.part()? {
        differences += 1;
        told.difference(&case.room, versions, &difference);
    }
    let (summaries, states) = pair.end();
    for (version, summary) in versions.into_iter().zip(&summaries) {
        told.summary(&case.room, version, summary);
    }
    told.states(&case.room, differences, states, source.letter.is_some());
    let same = differences == 0 && states != States::Differ;
    Ok(if same { SAME } else { DIFFERENT })
}

fn failed(file: &Path, error: ReplayError) -> anyhow::Error {
    let next = match &error {
        ReplayError::NoPlugin { .. } => Some("name the artefact with --plugin FILE"),
        ReplayError::Begin { .. } => Some(
            "is it the plugin that played the room? --plugin-config KEY=VALUE changes a setting that it met",
        ),
        ReplayError::NoContext { .. } => {
            Some("the journal may hold the room: replay its directory, or a copy of it")
        }
        _ => None,
    };
    let failure = Failure::new(format!("cannot replay {}", file.display())).cause(error);
    match next {
        Some(next) => failure.next(next).into(),
        None => failure.into(),
    }
}
