//! Every file in `fixtures/_config`, and the default text against the structs.

use super::*;
use std::fs;
use std::path::{Path, PathBuf};

fn files(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/_config");
    let mut files: Vec<_> = fs::read_dir(root.join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn good_files_are_read_without_a_word() {
    for path in files("good") {
        let text = fs::read_to_string(&path).unwrap();
        let config = Config::parse(&text).unwrap_or_else(|mistakes| {
            panic!("{}: {mistakes:#?}", path.display());
        });
        assert!(!config.accounts.is_empty(), "{}", path.display());
    }
}

/// `BLESS=1` writes the expected messages anew: read the difference.
#[test]
fn bad_files_are_refused_with_all_their_mistakes() {
    for path in files("bad") {
        let text = fs::read_to_string(&path).unwrap();
        let mistakes = Config::parse(&text).expect_err(&path.display().to_string());
        let said: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        let said = said.join("\n") + "\n";
        let expected = path.with_extension("expected");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected, &said).unwrap();
        }
        let expected = fs::read_to_string(expected).unwrap_or_default();
        assert_eq!(said, expected, "{}", path.display());
    }
}

#[test]
fn the_default_text_says_the_defaults() {
    let config = Config::parse(DEFAULT_TEXT).unwrap();
    assert_eq!(config, check(&Raw::default()).unwrap());
    assert_eq!(config.gateway, GatewayRaw::default());
}

/// The default text with its examples uncommented.
fn examples() -> String {
    let lines: Vec<_> = DEFAULT_TEXT
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or(line))
        .collect();
    lines.join("\n")
}

#[test]
fn the_examples_in_the_default_text_are_good() {
    let config = Config::parse(&examples()).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    assert_eq!(config.accounts.len(), 2);
    assert_eq!((config.channels.len(), config.devices.len()), (2, 1));
    assert_eq!(config.channels[0].raw, {
        let raw = ChannelRaw {
            name: "teltonika".into(),
            account: "acme".into(),
            protocol: "teltonika".into(),
            port: Some(20001),
            allow: config.channels[0].raw.allow.clone(),
            tls: config.channels[0].raw.tls.clone(),
            ..ChannelRaw::default()
        };
        assert_eq!(raw.allow.len(), 2);
        let tls = raw.tls.as_ref().unwrap();
        assert_eq!(
            (tls.certificate.as_str(), tls.client_required),
            ("gps.pem", true)
        );
        raw
    });
    let limit = &config.limits[1].raw;
    assert_eq!(limit.policy, LimitRaw::default().policy);
    assert_eq!(limit.park, LimitRaw::default().park);
    assert_eq!(limit.numbers().count(), LimitRaw::NUMBERS.len());
    assert_eq!(
        config.devices[0].raw.messages_ttl,
        DeviceRaw::default().messages_ttl
    );
}

#[test]
fn every_option_is_documented_in_the_default_text() {
    let table: toml::Table = examples().parse().unwrap();
    let keys = |section: &str| -> Vec<String> {
        let tables = match &table[section] {
            toml::Value::Array(rows) => rows.iter().collect(),
            one => vec![one],
        };
        let tables = tables.into_iter().filter_map(toml::Value::as_table);
        tables.flat_map(|table| table.keys().cloned()).collect()
    };
    for (section, fields) in [
        ("gateway", read::fields_of::<GatewayRaw>()),
        ("http", read::fields_of::<HttpRaw>()),
        ("bounds", read::fields_of::<BoundsRaw>()),
        ("journal", read::fields_of::<JournalRaw>()),
        ("packets", read::fields_of::<PacketsRaw>()),
        ("traces", read::fields_of::<TracesRaw>()),
        ("accounts", read::fields_of::<AccountRaw>()),
        ("limits", read::fields_of::<LimitRaw>()),
        ("channels", read::fields_of::<ChannelRaw>()),
        ("devices", read::fields_of::<DeviceRaw>()),
    ] {
        let documented = keys(section);
        for field in fields {
            // No protocol of every build has a model, so that an example could name it.
            if (section, *field) != ("devices", "model") {
                assert!(
                    documented.iter().any(|key| key == field),
                    "{section}.{field} is not in default.toml"
                );
            }
        }
        assert!(!fields.is_empty(), "{section}");
    }
    assert_eq!(read::fields_of::<Raw>().len(), 10);
}

#[test]
fn protocols_of_a_channel_are_tried_in_the_order_of_the_file() {
    let text = r#"
        [[accounts]]
        name = "acme"
        [[channels]]
        name = "mixed"
        account = "acme"
        protocol = "auto"
        protocols = ["teltonika", "h02", "gt06", "h02"]
    "#;
    let config = Config::parse(text).unwrap();
    let names: Vec<_> = config.channels[0]
        .protocols
        .iter()
        .map(|number| protocols::by_number(*number).unwrap().info.name)
        .collect();
    assert_eq!(names, ["teltonika", "h02", "gt06"]);
}

#[test]
fn traces_are_asked_of_a_build_that_has_them_and_of_an_address() {
    let said = |endpoint: &str| {
        let text = format!("[traces]\nendpoint = \"{endpoint}\"\n");
        let mistakes = Config::parse(&text).err().unwrap_or_default();
        let said: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        said.join("\n")
    };
    assert_eq!(said(""), "");
    let good = said("http://127.0.0.1:4318");
    assert_eq!(good.is_empty(), cfg!(feature = "otel"), "{good}");
    for bad in ["127.0.0.1:4318", "https://collector.example", "http://"] {
        let said = said(bad);
        assert!(said.contains("is no address like"), "{bad}: {said}");
    }
}
