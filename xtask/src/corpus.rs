//! `import-corpus`: from the corpus of frames beside the project to `fixtures/`.

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value as Json, json};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

const SOURCE: &str = "Test data of Traccar (https://github.com/traccar/traccar, Apache-2.0), commit \
    9e5c458ad0bf of 2026-08-21, and what its decoder makes of it: bytes and values only";

/// Imports `protocols`, or every protocol of the table if none is named.
pub(crate) fn import(root: &Path, corpus: &Path, protocols: &[String]) -> Result<()> {
    let all: Vec<&str> = protocols::PROTOCOLS.iter().map(|p| p.info.name).collect();
    let facts: Json = serde_json::from_str(&read(&corpus.join("protocols.json"))?)?;
    let chosen = if protocols.is_empty() {
        all
    } else {
        protocols.iter().map(String::as_str).collect()
    };
    for protocol in chosen {
        let frames = lines(&corpus.join("frames").join(format!("{protocol}.jsonl")))?;
        let decoded: HashMap<String, Json> =
            lines(&corpus.join("decoded").join(format!("{protocol}.jsonl")))?
                .into_iter()
                .filter_map(|line| Some((line["id"].as_str()?.to_owned(), line)))
                .collect();
        let ident = &facts[protocol]["ident"];
        let mut text = format!("{}\n", json!({ "source": SOURCE, "ident": ident }));
        let mut count = 0;
        for frame in &frames {
            // datagrams are out of scope, and so is what the reference itself has switched off
            if frame["transport_hint"] == "udp" || frame["disabled"] == true {
                continue;
            }
            let id = frame["id"].as_str().context("a vector without an id")?;
            writeln!(text, "{}", vector(frame, decoded.get(id))?)?;
            count += 1;
        }
        let folder = root.join("fixtures").join(protocol);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("_corpus.jsonl"), text)?;
        crate::say(&format!("{protocol}: {count} vectors"));
    }
    Ok(())
}

fn vector(frame: &Json, decoded: Option<&Json>) -> Result<Json> {
    let mut vector = Map::new();
    let mut put = |key: &str, value: Json| vector.insert(key.to_owned(), value);
    put("id", frame["id"].clone());
    let method = frame["method"]
        .as_str()
        .context("a vector without a method")?;
    let method = method.strip_suffix(".testDecode").unwrap_or(method);
    put("session", format!("{method}/{}", frame["session"]).into());
    put("kind", frame["kind"].clone());
    for flag in ["prelude", "checksum_ok"] {
        if let Some(value) = frame.get(flag).and_then(Json::as_bool)
            && value == (flag == "prelude")
        {
            put(flag, value.into());
        }
    }
    let (model, format) = settings(&frame["config"]);
    if let Some(model) = model {
        put("model", model.into());
    }
    if let Some(format) = format {
        put("format", format.into());
    }
    let bytes = frame.get("wire_hex").unwrap_or(&frame["input_hex"]);
    put("hex", bytes.clone());
    if let Some(frames) = frame["expect"].get("frames") {
        put("frames", frames.clone());
    }
    let Some(decoded) = decoded else {
        if frame["kind"] != "frame" {
            bail!("{} is not decoded", frame["id"]);
        }
        return Ok(vector.into());
    };
    if decoded["as_stream"] == false {
        put("as_stream", false.into());
    }
    let volatile = decoded["volatile_fields"]
        .as_array()
        .is_some_and(|fields| !fields.is_empty());
    if volatile {
        put("volatile", true.into());
        put("clocks", decoded["clock_ms"].clone());
    }
    for list in ["idents", "positions"] {
        if decoded[list]
            .as_array()
            .is_some_and(|list| !list.is_empty())
        {
            put(list, decoded[list].clone());
        }
    }
    let replies: Vec<Json> = decoded["replies"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|reply| reply.get("hex_at").unwrap_or(&reply["hex"]).clone())
        .collect();
    if !replies.is_empty() {
        put("replies", replies.into());
    }
    Ok(vector.into())
}

/// The reference's settings of a decoder as ours: the model; the format is the only other value
/// if there is one (`form`, `format`), else `key=value` pairs, comma separated, a true one by its
/// key alone, a false one not at all.
fn settings(config: &Json) -> (Option<String>, Option<String>) {
    let model = config["modelOverride"].as_str().map(str::to_owned);
    let others: Vec<(&String, &Json)> = config
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| *key != "modelOverride" && *key != "extended" && **value != false)
        .collect();
    let format = match others.as_slice() {
        [] => None,
        [(key, Json::String(value))] if matches!(key.as_str(), "form" | "format") => {
            Some(value.clone())
        }
        pairs => {
            let pairs: Vec<String> = pairs
                .iter()
                .map(|(key, value)| match value {
                    Json::Bool(_) => (*key).clone(),
                    Json::String(value) => format!("{key}={value}"),
                    value => format!("{key}={value}"),
                })
                .collect();
            Some(pairs.join(","))
        }
    };
    (model, format)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

fn lines(path: &Path) -> Result<Vec<Json>> {
    read(path)?
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| path.display().to_string()))
        .collect()
}
