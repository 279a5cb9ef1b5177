//! Device types: one per protocol and model. They are not stored: the id is made of the
//! protocol's stored number and the model's, which are both append-only, so that it stays.

use crate::config::model_named;
use protocols::{Model, PROTOCOLS, Protocol, by_number};

/// Models of one protocol have numbers below this.
pub const MODELS_PER_PROTOCOL_MAX: u32 = 1000;

/// What kind of device: its protocol, and the model if decoding or people care which.
#[derive(Debug, Clone, Copy)]
pub struct DeviceType {
    /// Made of the protocol's and the model's number.
    pub id: u32,
    /// The protocol.
    pub protocol: &'static Protocol,
    /// The model; `None` is any model of the protocol.
    pub model: Option<&'static Model>,
}

impl DeviceType {
    fn new(protocol: &'static Protocol, model: Option<&'static Model>) -> Self {
        let number = model.map_or(0, |model| u32::from(model.number));
        Self {
            id: u32::from(protocol.number) * MODELS_PER_PROTOCOL_MAX + number,
            protocol,
            model,
        }
    }

    /// Any model of a protocol.
    pub fn any(protocol: &'static Protocol) -> Self {
        Self::new(protocol, None)
    }

    /// The type of that id.
    pub fn find(id: u32) -> Option<Self> {
        let protocol = by_number(u16::try_from(id / MODELS_PER_PROTOCOL_MAX).ok()?)?;
        match id % MODELS_PER_PROTOCOL_MAX {
            0 => Some(Self::any(protocol)),
            number => protocol
                .info
                .models
                .iter()
                .find(|model| u32::from(model.number) == number)
                .map(|model| Self::new(protocol, Some(model))),
        }
    }

    /// The type of a model by its name, or by its vendor and name (case does not count), or by
    /// `any`.
    pub fn named(protocol: &'static Protocol, model: &str) -> Option<Self> {
        if model.eq_ignore_ascii_case("any") {
            return Some(Self::any(protocol));
        }
        model_named(protocol, model).map(|model| Self::new(protocol, Some(model)))
    }

    /// Its name in REST: `teltonika`, `teltonika_fmb920`, `tk103_eelink_tk103`.
    pub fn name(&self) -> String {
        let protocol = self.protocol.info.name;
        let Some(model) = self.model else {
            return protocol.to_owned();
        };
        let (vendor, model) = (slug(model.vendor), slug(model.name));
        if vendor == protocol {
            format!("{protocol}_{model}")
        } else {
            format!("{protocol}_{vendor}_{model}")
        }
    }

    /// Its name for people.
    pub fn title(&self) -> String {
        match self.model {
            None => self.protocol.info.title.to_owned(),
            Some(model) => format!("{} {}", model.vendor, model.name),
        }
    }
}

fn slug(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() => c.to_ascii_lowercase(),
            _ => '_',
        })
        .collect()
}

/// All types of one protocol, any model first.
pub fn types_of(protocol: &'static Protocol) -> impl Iterator<Item = DeviceType> {
    let models = protocol.info.models.iter();
    std::iter::once(DeviceType::any(protocol))
        .chain(models.map(move |model| DeviceType::new(protocol, Some(model))))
}

/// All types.
pub fn device_types() -> impl Iterator<Item = DeviceType> {
    PROTOCOLS.iter().flat_map(types_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_id_and_no_id_comes_twice() {
        let mut seen = std::collections::BTreeSet::new();
        let mut names = std::collections::BTreeSet::new();
        for kind in device_types() {
            assert!(seen.insert(kind.id), "{} comes twice", kind.id);
            assert!(names.insert(kind.name()), "{} comes twice", kind.name());
            let found = DeviceType::find(kind.id).expect("listed");
            assert_eq!(found.name(), kind.name());
            if let Some(model) = kind.model {
                assert!(u32::from(model.number) < MODELS_PER_PROTOCOL_MAX);
                assert_ne!(model.number, 0, "0 is any model");
                let named = DeviceType::named(kind.protocol, &kind.title().to_uppercase());
                assert_eq!(named.map(|named| named.id), Some(kind.id));
            }
        }
        assert!(seen.contains(&1000));
        assert!(DeviceType::find(999).is_none());
        assert!(DeviceType::find(u32::MAX).is_none());
    }
}
