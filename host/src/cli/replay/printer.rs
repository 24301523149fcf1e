//! Told: a replay as text, or as JSON lines.

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::terminal::{bytes, line, time};
use crate::journal::{About, Cause};
use crate::plugin::{Fault, Version};
use crate::replay::{Case, Difference, Ended, Happened, Source, States, Step, Summary};

/// How it is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) json: bool,
    pub(super) full: bool,
    pub(super) brief: bool,
}

impl Told {
    /// What is replayed, and what is left out.
    pub(super) fn source(self, source: &Source) {
        if let (Some(about), Some(case)) = (&source.letter, source.cases.first()) {
            self.letter(&case.room, about);
        }
        for note in &source.notes {
            if self.json { object("note", json!({ "text": note })) } else { line(&format!("note: {note}")) }
        }
    }

    fn letter(self, room: &str, about: &About) {
        if self.json {
            return object("letter", with(json!({ "room": room }), about));
        }
        let About { plugin, version, digest, failed_at_ms, .. } = about;
        let became = match about.cause {
            Cause::Skipped => "the room went on without the input",
            Cause::Reverted => "on probation: the version before took over",
            Cause::Replayed => "handled once, it failed in a rebuild; the room went on without it",
            Cause::Unsaved => "it could not write its state down; the room went on",
            Cause::Closed => "the host ended the room; this is what it was",
        };
        line(&format!("dead letter of room {}, {}", plain(room), time(*failed_at_ms)));
        line(&format!(
            "  version  {} {} ({})",
            plain(plugin),
            plain(version),
            plain(digest.get(..12).unwrap_or(digest))
        ));
        line(&format!("  then     {became}"));
        line(&format!("  fault    {}: {}", plain(&about.fault), plain(&about.text)));
        about.frames.iter().for_each(|frame| line(&format!("             in {}", plain(frame))));
    }

    /// A room begins.
    pub(super) fn room(self, case: &Case, versions: &[&std::sync::Arc<Version>]) {
        if self.json {
            return;
        }
        let from = match case.start.snapshot() {
            Some(state) => format!(
                "a state of {} ({}, schema {})",
                time(case.start.at_ms()),
                bytes(state.bytes.len() as u64),
                state.schema
            ),
            None => "its opening".to_owned(),
        };
        let on: Vec<_> = versions.iter().map(|version| name(version)).collect();
        line(&format!("room {} from {from}, on {}", plain(&case.room), on.join(" and ")));
    }

    /// An input and what came of it.
    pub(super) fn step(self, room: &str, step: &Step) {
        let handled = matches!(step.happened.ended, Ended::Done | Ended::Answered(_)) && !step.failed_then;
        if self.brief && handled {
            return;
        }
        if self.json {
            return object("step", with(input(room, step), &json_of(&step.happened)));
        }
        line(&self.head(step));
        self.lines(&step.happened).iter().for_each(|text| line(&format!("    {text}")));
    }

    /// An input that two versions handle differently.
    pub(super) fn difference(
        self,
        room: &str,
        versions: [&std::sync::Arc<Version>; 2],
        difference: &Difference,
    ) {
        let Difference { step, second } = difference;
        if self.json {
            let sides = json!({ "first": json_of(&step.happened), "second": json_of(second) });
            return object("difference", with(input(room, step), &sides));
        }
        line(&self.head(step));
        for (version, happened) in versions.iter().zip([&step.happened, second]) {
            line(&format!("  {}", name(version)));
            let lines = self.lines(happened);
            lines.iter().for_each(|text| line(&format!("    {text}")));
            if lines.is_empty() {
                line("    nothing");
            }
        }
    }

    /// A run's end.
    pub(super) fn summary(self, room: &str, version: &Version, summary: &Summary) {
        let Summary { inputs, effects, refused, faults, left, state } = summary;
        if self.json {
            let state = match state {
                Ok(state) => json!({
                    "schema": state.snapshot.schema,
                    "bytes": state.snapshot.bytes.len(),
                    "sha256": state.digest.to_string(),
                }),
                Err(fault) => json!({ "fault": json_fault(fault) }),
            };
            return object(
                "summary",
                json!({
                    "room": room, "version": version.label(), "digest": version.digest().to_string(),
                    "inputs": inputs, "effects": effects, "refused": refused, "faults": faults, "left": left,
                    "state": state,
                }),
            );
        }
        line(&format!(
            "room {} on {}: {inputs} inputs, {effects} effects, {refused} refused, {faults} faults",
            plain(room),
            name(version)
        ));
        if *left > 0 {
            line(&format!("  given up after {faults} faults, {left} inputs are left"));
        }
        match state {
            Ok(state) => line(&format!(
                "  state: {}, schema {}, sha256 {}",
                bytes(state.snapshot.bytes.len() as u64),
                state.snapshot.schema,
                state.digest
            )),
            Err(fault) => line(&format!("  the state cannot be saved: {}", plain(&fault.to_string()))),
        }
    }

    /// Whether a dead letter's fault has happened again.
    pub(super) fn verdict(self, about: &About, happened: &Happened, summary: &Summary) {
        let (word, text) = match &happened.ended {
            _ if summary.left > 0 => ("not-reached", "the input was not reached"),
            Ended::Fault(fault) if (fault.kind.name(), &fault.text) == (&*about.fault, &about.text) => {
                ("same-fault", "it fails again, in the same way")
            }
            Ended::Fault(_) => ("other-fault", "it fails again, in another way"),
            Ended::Refused { .. } => ("refused", "it does not fail: the input is refused"),
            Ended::Done | Ended::Answered(_) => ("handled", "it does not fail: the input is handled"),
        };
        if self.json { object("verdict", json!({ "outcome": word })) } else { line(text) }
    }

    /// Whether a state that could not be saved cannot be saved again.
    pub(super) fn verdict_of_save(self, about: &About, summary: &Summary) {
        let (word, text) = match &summary.state {
            _ if summary.left > 0 => ("not-reached", "the state was not reached"),
            Err(fault) if (fault.kind.name(), &fault.text) == (&*about.fault, &about.text) => {
                ("same-fault", "it fails again, in the same way")
            }
            Err(_) => ("other-fault", "it fails again, in another way"),
            Ok(_) => ("handled", "it does not fail: the state can be saved"),
        };
        if self.json { object("verdict", json!({ "outcome": word })) } else { line(text) }
    }

    /// Whether the state of a room that the host has ended is reached.
    pub(super) fn verdict_of_close(self, summary: &Summary) {
        let (word, text) = match &summary.state {
            Ok(_) if summary.left == 0 => ("reached", "the state is as it was when the host ended the room"),
            _ => ("not-reached", "the state was not reached"),
        };
        if self.json { object("verdict", json!({ "outcome": word })) } else { line(text) }
    }

    /// What a comparison came to.
    pub(super) fn states(self, room: &str, differences: usize, states: States, is_letter: bool) {
        if self.json {
            let (word, schemas) = match states {
                States::Same => ("same", Value::Null),
                States::Differ => ("differ", Value::Null),
                States::Schemas(first, second) => ("schemas-differ", json!([first, second])),
            };
            let answer =
                json!({ "room": room, "differences": differences, "states": word, "schemas": schemas });
            return object("comparison", answer);
        }
        let of_letter = if is_letter { ", the last input being the one that failed" } else { "" };
        let inputs = match differences {
            0 => format!("they do the same{of_letter}"),
            1 => format!("they differ on 1 input{of_letter}"),
            _ => format!("they differ on {differences} inputs{of_letter}"),
        };
        let states = match states {
            States::Same => "their final states are equal".to_owned(),
            States::Differ => "their final states differ".to_owned(),
            States::Schemas(first, second) => {
                format!("their final states cannot be compared: schema {first} and schema {second}")
            }
        };
        line(&format!("{inputs}; {states}"));
    }

    fn head(self, step: &Step) -> String {
        let Step { n, at_ms, input, failed_then, .. } = step;
        let mark = if *failed_then { "  <- the one that failed" } else { "" };
        // A room opens before its clock is set.
        let at = match at_ms {
            0 => String::new(),
            _ => format!("{}.{:03} ", time(*at_ms).trim_end_matches(" UTC"), at_ms % 1000),
        };
        format!("#{n} {at}{}{mark}", input.line(self.full))
    }

    fn lines(self, happened: &Happened) -> Vec<String> {
        let mut lines: Vec<_> = happened.effects.iter().map(|effect| effect.line(self.full)).collect();
        match &happened.ended {
            Ended::Done => {}
            Ended::Answered(answer) => lines.push(answer.line(self.full)),
            Ended::Refused { code, text } => lines.push(format!("refused {code}: {}", plain(text))),
            Ended::Fault(fault) => {
                lines.push(format!("FAULT {}: {}", fault.kind.name(), plain(&fault.text)));
                lines.extend(fault.frames.iter().map(|frame| format!("  in {}", plain(frame))));
            }
        }
        lines
    }
}

fn name(version: &Version) -> String {
    format!("{} {version}", version.manifest().name)
}

/// What comes from a guest or a file must not move a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn input(room: &str, step: &Step) -> Value {
    let Step { n, at_ms, input, failed_then, .. } = step;
    json!({ "room": room, "n": n, "at_ms": at_ms, "input": input, "failed_then": failed_then })
}

fn json_of(happened: &Happened) -> Value {
    let effects = &happened.effects;
    match &happened.ended {
        Ended::Done => json!({ "ended": "done", "effects": effects }),
        Ended::Answered(answer) => json!({ "ended": "done", "answer": answer, "effects": effects }),
        Ended::Refused { code, text } => {
            json!({ "ended": "refused", "code": code, "text": text, "effects": effects })
        }
        Ended::Fault(fault) => json!({ "ended": "fault", "fault": json_fault(fault), "effects": effects }),
    }
}

fn json_fault(fault: &Fault) -> Value {
    json!({ "kind": fault.kind.name(), "text": fault.text, "frames": fault.frames })
}

/// An object with the fields of another one too.
fn with(mut object: Value, more: &impl Serialize) -> Value {
    let more = serde_json::to_value(more).unwrap_or_default();
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}

/// One line: an object that says what it is.
fn object(kind: &str, fields: Value) {
    line(&with(json!({ "kind": kind }), &fields).to_string());
}
