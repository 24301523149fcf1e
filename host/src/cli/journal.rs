//! `hotseat journal`: what a journal holds, and a damaged one made whole.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::failure::Failure;
use super::terminal::{bytes, line, progress};
use crate::journal::check::{Repair, Report, Room, check};
use crate::journal::{Damage, JournalError};
use crate::plugin::Records;

/// Exit status of a check that found damage.
const DAMAGED: u8 = 1;

/// Look at the journal of a node, and mend a damaged one
///
/// DIR is a journal's directory, or the data directory around it (`shared_dir/NODE` of a cluster's host).
#[derive(Debug, clap::Args)]
pub struct JournalArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say what there is, room by room, and what is damaged; changes nothing
    ///
    /// The node may be running; what it has not yet written is not seen. Exit status 1 if there is damage.
    Check {
        /// The journal
        dir: PathBuf,
    },
    /// Make a damaged journal whole: each room as it was at some moment, the last one that can be trusted
    ///
    /// Shows what there is and what would be lost, and asks. The old files are kept, in `aside/repair-TIME` beside the
    /// journal. The node must be stopped.
    Repair {
        /// The journal
        dir: PathBuf,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Runs one of the commands.
///
/// # Errors
/// If the journal cannot be read, or is in use and was to be mended.
pub async fn run(args: JournalArgs) -> anyhow::Result<ExitCode> {
    let work = move || match args.command {
        Command::Check { dir } => checked(&journal_in(&dir)),
        Command::Repair { dir, yes } => repaired(&journal_in(&dir), yes),
    };
    tokio::task::spawn_blocking(work).await.context("the command died")?
}

fn journal_in(dir: &Path) -> PathBuf {
    let journal = dir.join("journal");
    if journal.is_dir() { journal } else { dir.to_owned() }
}

fn failed(dir: &Path, error: JournalError) -> Failure {
    let failure = Failure::new(format!("cannot look at {}", dir.display()));
    let locked = matches!(error, JournalError::Locked(_));
    let failure = failure.cause(error);
    if locked {
        failure.next("stop the node first; `hotseat journal check` does not need that")
    } else {
        failure
    }
}

fn checked(dir: &Path) -> anyhow::Result<ExitCode> {
    let report = check(dir).map_err(|error| failed(dir, error))?;
    if report.in_use {
        line(&format!("{} is in use: this is what its node had written a moment ago", dir.display()));
    }
    tell(&report);
    if report.damage.is_empty() {
        line("no damage");
        return Ok(ExitCode::SUCCESS);
    }
    if report.in_use {
        line("its node writes meanwhile: look again before you believe it");
    } else {
        line(&format!("`hotseat journal repair {}` goes on with what can be trusted", dir.display()));
    }
    Ok(ExitCode::from(DAMAGED))
}

fn repaired(dir: &Path, yes: bool) -> anyhow::Result<ExitCode> {
    let repair = Repair::begin(dir).map_err(|error| failed(dir, error))?;
    tell(repair.report());
    if repair.report().damage.is_empty() {
        line("no damage: there is nothing to mend");
        return Ok(ExitCode::SUCCESS);
    }
    if !yes {
        progress("Go on with these rooms as they are listed? The old files are kept. [y/N]");
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).context("no answer")?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Err(Failure::new("nothing has been changed").next("answer y, or say --yes").into());
        }
    }
    let kept = repair.run().map_err(|error| {
        Failure::new(format!("{} is not mended", dir.display()))
            .cause(error)
            .next("nothing is lost: the old files are where they were, or in aside/")
    })?;
    line(&format!("mended; the old files are in {}", kept.display()));
    Ok(ExitCode::SUCCESS)
}

/// Says what there is, a line a thing.
fn tell(report: &Report) {
    for (path, size) in &report.segments {
        line(&format!("segment {}: {}", path.display(), bytes(*size)));
    }
    for (name, room) in &report.rooms {
        line(&of_room(name, room));
    }
    if let Some(torn) = &report.torn {
        let (path, end) = (torn.path.display(), bytes(torn.tail.len() as u64));
        line(&format!(
            "torn end: {path} ends at byte {} within a record ({end}), as a crash leaves it; the node starts",
            torn.offset
        ));
    }
    for Damage { path, offset, length, what } in &report.damage {
        let extent = if *length > 0 { format!(", {}", bytes(*length)) } else { String::new() };
        line(&format!("damage: {} at byte {offset}{extent}: {what}", path.display()));
    }
}

fn of_room(name: &str, room: &Room) -> String {
    let base = bytes(room.past.base.len() as u64);
    let inputs = match Records::from_bytes(room.past.inputs.clone()) {
        Ok(records) => format!("{} inputs", records.inputs()),
        Err(error) => format!("inputs that cannot be read ({error})"),
    };
    let lost = match room.untrusted {
        0 => String::new(),
        untrusted => format!("; {} of inputs behind the damage cannot be trusted", bytes(untrusted)),
    };
    format!("room {name}: base of {base}, {inputs}{lost}")
}
