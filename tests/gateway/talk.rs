//! What trackers say in the dialogues of `fixtures/`.

use serde_json::Value;
use std::path::Path;

/// What a tracker says to its first message, and the ident of that.
pub(crate) struct Talk {
    /// As it comes, read by read.
    pub(crate) reads: Vec<Vec<u8>>,
    pub(crate) ident: String,
}

impl Talk {
    /// Of every dialogue of the protocol that begins with a login and needs no settings.
    pub(crate) fn all(name: &str) -> Vec<Self> {
        let folder = Path::new("fixtures").join(name);
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .expect("its fixtures")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| {
                let file = path.file_name().and_then(|file| file.to_str());
                file.is_some_and(|file| !file.starts_with('_'))
            })
            .collect();
        files.sort();
        let talks = files.iter().filter_map(|file| {
            let text = std::fs::read_to_string(file).expect("it is read");
            Self::of(&text)
        });
        talks.collect()
    }

    fn of(text: &str) -> Option<Self> {
        let mut lines = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        let head: Value = lines.next()?;
        let special = ["ident", "settings", "unregistered"];
        if special.iter().any(|key| head.get(key).is_some()) {
            return None;
        }
        let mut reads: Vec<Vec<u8>> = Vec::new();
        for line in lines {
            if let Some(hex) = line["hex"].as_str() {
                reads.push(protocols::kit::hex::decode(hex).expect("hexadecimal"));
            } else if let Some(text) = line["text"].as_str() {
                reads.push(text.as_bytes().to_vec());
            } else if let Some(ident) = line["message"]["ident"].as_str() {
                let ident = ident.to_owned();
                return Some(Self { reads, ident });
            } else if line.get("login").is_none() && line.get("reply").is_none() {
                return None;
            }
        }
        None
    }
}
