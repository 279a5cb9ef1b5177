//! Whose terminal it is, where makers read the same item differently.

use crate::contract::Context;

/// Makes that read the same bytes differently, by the setting `model`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Make {
    Standard,
    /// AOVX trackers: bit 16 of the alarms is "moved".
    Aovx,
    /// MV710G: bit 16 of the status is a door, item 57 its alarm.
    Mv710g,
}

impl Make {
    pub(super) fn of(cx: &Context<'_>) -> Self {
        let settings = cx.settings();
        if settings.model_is("MV710G") {
            Self::Mv710g
        } else if settings.model_is("AL300") || settings.model_is("GL100") {
            Self::Aovx
        } else {
            Self::Standard
        }
    }
}
