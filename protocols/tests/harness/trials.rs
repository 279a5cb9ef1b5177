//! What every fixture gets for free.

use super::dialogue::{Dialogue, Input, difference};
use protocols::Protocol;
use serde_json::Value as Json;
use std::collections::HashSet;
use std::ops::Range;

/// The bytes that one trial of cuts or flipped bits reads in all, so that a long capture does not
/// take minutes: above it, every nth place is tried, n fixed by the length.
const BYTES_PER_TRIAL_MAX: usize = 1 << 20;

/// A trial's outcome, the failure as a person reads it.
pub(crate) type Outcome = Result<(), String>;

/// One kind of trial.
pub(crate) type Trial = fn(&Protocol, &Dialogue) -> Outcome;

/// Every trial by its name.
pub(crate) const TRIALS: &[(&str, Trial)] = &[
    ("dialogue", dialogue),
    ("byte by byte", byte_by_byte),
    ("joined in one read", joined),
    ("cut short at every length", cut_short),
    ("one flipped bit", flipped),
    ("twice over", twice_over),
    ("fields known", fields_known),
    ("unknown device", unknown_device),
];

/// Exact events, exact reply bytes, exact gates.
fn dialogue(protocol: &Protocol, dialogue: &Dialogue) -> Outcome {
    let actual = dialogue.run(protocol, usize::MAX, &mut Vec::new());
    let expected: Vec<_> = dialogue
        .turns
        .iter()
        .map(|turn| turn.outcomes.clone())
        .collect();
    if actual == expected {
        return Ok(());
    }
    if std::env::var_os("BLESS").is_some() {
        return dialogue.bless(&actual).map_err(|e| e.to_string());
    }
    Err(difference(&dialogue.turns, &expected, &actual))
}

/// Cutting anywhere changes nothing.
fn byte_by_byte(protocol: &Protocol, dialogue: &Dialogue) -> Outcome {
    let whole = dialogue.run(protocol, usize::MAX, &mut Vec::new());
    let single = dialogue.run(protocol, 1, &mut Vec::new());
    let differs = difference(&dialogue.turns, &place_free(whole), &place_free(single));
    if differs.is_empty() {
        Ok(())
    } else {
        Err(differs)
    }
}

/// All reads of a connection in one say what they say one by one.
fn joined(protocol: &Protocol, dialogue: &Dialogue) -> Outcome {
    if !dialogue.reads_only() {
        return Ok(());
    }
    let apart: Vec<Json> = dialogue.run(protocol, usize::MAX, &mut Vec::new()).concat();
    let mut together = Vec::new();
    for stream in dialogue.streams() {
        together.append(&mut dialogue.open(protocol).feed(&stream, false));
    }
    same_lines(
        &place_free(vec![apart]).concat(),
        &place_free(vec![together]).concat(),
    )
}

/// No event from half a frame, and no panic, wherever the stream ends.
fn cut_short(protocol: &Protocol, dialogue: &Dialogue) -> Outcome {
    for stream in dialogue.streams() {
        let all = dialogue.open(protocol).feed(&stream, false);
        for length in places(stream.len(), stream.len() / 2) {
            let part = stream.get(..length).unwrap_or_default();
            let mut runner = dialogue.open(protocol);
            let lines = runner.feed(part, false);
            let begins = all.get(..lines.len()) == Some(&lines);
            let lost = lines.last().is_some_and(|line| line.get("fatal").is_some());
            if !begins && !lost {
                return Err(format!(
                    "the first {length} bytes say what the whole does not: {lines:?}"
                ));
            }
            runner.feed(&[], true);
        }
    }
    Ok(())
}

/// No panic and no hang; where the frames have a checksum, nothing of the changed one comes in.
fn flipped(protocol: &Protocol, dialogue: &Dialogue) -> Outcome {
    for stream in dialogue.streams() {
        let content: HashSet<String> = dialogue
            .open(protocol)
            .feed(&stream, false)
            .iter()
            .filter_map(content)
            .collect();
        for place in places(stream.len() * 8, stream.len()) {
            let mut changed = stream.clone();
            if let Some(byte) = changed.get_mut(place / 8) {
                *byte ^= 1 << (place % 8);
            }
            let lines = dialogue.open(protocol).feed(&changed, false);
            if !dialogue.checked {
                continue;
            }
            let strange = lines
                .iter()
                .filter_map(self::content)
                .find(|line| !content.contains(line));
            if let Some(strange) = strange {
                return Err(format!(
                    "bit {} of byte {} flipped brings in {strange}",
                    place % 8,
                    place / 8
                ));
            }
        }
    }
    Ok(())
}

/// The second session equals the first: nothing is hidden outside of it.
fn twice_over(protocol: &Protocol, dialogue: &Dialogue) -> Outcome {
    let first = dialogue.run(protocol, usize::MAX, &mut Vec::new());
    let second = dialogue.run(protocol, usize::MAX, &mut Vec::new());
    let differs = difference(&dialogue.turns, &first, &second);
    if differs.is_empty() {
        Ok(())
    } else {
        Err(differs)
    }
}

/// Every field is in the dictionary, with its type.
fn fields_known(protocol: &Protocol, dialogue: &Dialogue) -> Outcome {
    let mut misfits = Vec::new();
    dialogue.run(protocol, usize::MAX, &mut misfits);
    match misfits.first() {
        None => Ok(()),
        Some(_) => Err(misfits.join("\n")),
    }
}

/// A device nobody has registered says the same, where no setting is needed to read it.
fn unknown_device(protocol: &Protocol, dialogue: &Dialogue) -> Outcome {
    let mut stranger = dialogue.clone();
    stranger.unregistered = true;
    let known = dialogue.run(protocol, usize::MAX, &mut Vec::new());
    let unknown = stranger.run(protocol, usize::MAX, &mut Vec::new());
    if dialogue.settings.is_some() {
        return Ok(());
    }
    let differs = difference(&dialogue.turns, &known, &unknown);
    if differs.is_empty() {
        Ok(())
    } else {
        Err(differs)
    }
}

/// Which of `count` places are tried when each costs `bytes`: all, or every nth.
fn places(count: usize, bytes: usize) -> impl Iterator<Item = usize> {
    let affordable = (BYTES_PER_TRIAL_MAX / bytes.max(1)).max(1);
    let mut step = count.div_ceil(affordable).max(1);
    // a step that has a factor in common with 8 would try the same bit of every byte
    if step > 1 && step.is_multiple_of(2) {
        step += 1;
    }
    Range {
        start: 0,
        end: count,
    }
    .step_by(step)
}

/// A message without what may differ when a byte outside of its frame is changed.
fn content(line: &Json) -> Option<String> {
    let mut message = line.get("message")?.as_object()?.clone();
    message.remove("ident");
    Some(Json::from(message).to_string())
}

/// Outcomes without the place of a lost stream, which depends on what was read before.
fn place_free(mut outcomes: Vec<Vec<Json>>) -> Vec<Vec<Json>> {
    for line in outcomes.iter_mut().flatten() {
        if let Some(fatal) = line.get_mut("fatal").and_then(Json::as_object_mut) {
            fatal.remove("at");
        }
    }
    outcomes
}

/// Are the lines equal? The first that differs otherwise.
pub(crate) fn same_lines(expected: &[Json], actual: &[Json]) -> Outcome {
    if expected == actual {
        return Ok(());
    }
    let at = expected
        .iter()
        .zip(actual)
        .take_while(|(expected, actual)| expected == actual)
        .count();
    let line = |lines: &[Json]| lines.get(at).map_or("nothing".into(), Json::to_string);
    Err(format!(
        "line {at}: expected {}\n  but got {}",
        line(expected),
        line(actual)
    ))
}

/// The reads of a dialogue, for whoever wants bytes that make sense.
pub(crate) fn reads(dialogue: &Dialogue) -> impl Iterator<Item = &[u8]> {
    dialogue.turns.iter().filter_map(|turn| match &turn.input {
        Input::Bytes(bytes) => Some(bytes.as_slice()),
        _ => None,
    })
}
