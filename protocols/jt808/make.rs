//! Whose terminal it is, where makers read the same item differently.

use crate::contract::Context;

/// Makes that read the same bytes differently, by the setting `model`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Make {
    Standard,
    /// AOVX trackers: bit 16 of the alarms is "moved"; items F3, F6 and F8 are theirs.
    Aovx,
    /// MV710G and MV810G: bit 16 of the status is a door, item 57 its alarm.
    Mv710g,
    /// Padlocks: bits 0 and 4 of the alarms say that it was taken off, 1 that it was tampered with.
    Padlock,
    /// VL300: no alarms of a crash.
    Vl300,
    /// G1C Pro: bit 4 of the status says that it moves.
    G1c,
    /// C5: item F8 counts steps.
    C5,
    /// Jimi's dash cameras: item E8 is theirs, however long.
    Jimi,
    /// DT800: item E2 is no fuel.
    Dt800,
}

/// The models, as the setting has them.
const MODELS: [(&str, Make); 16] = [
    ("MV710G", Make::Mv710g),
    ("MV810G", Make::Mv710g),
    ("AL300", Make::Aovx),
    ("GL100", Make::Aovx),
    ("G-360P", Make::Padlock),
    ("G-508P", Make::Padlock),
    ("VL300", Make::Vl300),
    ("G1C Pro", Make::G1c),
    ("C5", Make::C5),
    ("C5L", Make::C5),
    ("JC371", Make::Jimi),
    ("JC181", Make::Jimi),
    ("JC182", Make::Jimi),
    ("JC450", Make::Jimi),
    ("JC451", Make::Jimi),
    ("DT800", Make::Dt800),
];

impl Make {
    pub(super) fn of(cx: &Context<'_>) -> Self {
        let settings = cx.settings();
        let found = MODELS.iter().find(|(model, _)| settings.model_is(model));
        found.map_or(Self::Standard, |(_, make)| *make)
    }
}
