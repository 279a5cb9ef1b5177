//! Whose tracker it is, where makers read the same bytes differently.

use crate::contract::Settings;

/// Makes that read the same bytes differently, by the setting `model`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Make {
    Standard,
    Nt20,
    Seeworld,
    R11,
    G18,
    Qh302r,
    Lw,
}

impl Make {
    pub(super) fn of(settings: &Settings) -> Self {
        let Some(model) = settings.model.as_deref() else {
            return Self::Standard;
        };
        let is = |name: &str| model.eq_ignore_ascii_case(name);
        let begins = |prefix: &str| {
            model
                .get(..prefix.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(prefix))
        };
        if is("NT20") || is("XT40") {
            Self::Nt20
        } else if is("SEEWORLD") {
            Self::Seeworld
        } else if is("R11") {
            Self::R11
        } else if is("G18") {
            Self::G18
        } else if is("QH302R") {
            Self::Qh302r
        } else if begins("LW") {
            Self::Lw
        } else {
            Self::Standard
        }
    }
}
