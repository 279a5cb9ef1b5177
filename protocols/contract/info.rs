//! The facts about a protocol.

/// What is known of a protocol without any bytes.
#[derive(Debug, Clone, Copy)]
pub struct Info {
    /// The name in configuration, REST, metrics, fixtures: lower case.
    pub name: &'static str,
    /// The name for people: vendor or family.
    pub title: &'static str,
    /// The document the decoder follows.
    pub source: &'static str,
    /// The port that trackers of this protocol are usually pointed at (0: none).
    pub port: u16,
    /// The version of the decoder: raised whenever the same bytes give other messages. Stored
    /// with each frame.
    pub version: u16,
    /// The longest frame. A longer one is [`super::Fatal`] as soon as its length is known.
    pub frame_bytes_max: usize,
    /// What a session may keep beside the unread bytes.
    pub session_bytes_max: usize,
    /// What its data acks cover.
    pub acks: Acks,
    /// One connection may carry several idents.
    pub shared: bool,
    /// Which settings of a device its decoding depends on.
    pub settings: &'static [Setting],
    /// The models whose bytes read differently, or that people look for by name.
    pub models: &'static [Model],
    /// The commands that [`super::Decode::encode`] can write.
    pub commands: &'static [&'static str],
}

impl Info {
    /// A protocol with the commonest facts, to be completed with `..Info::DEFAULT`.
    pub const DEFAULT: Self = Self {
        name: "",
        title: "",
        source: "",
        port: 0,
        version: 1,
        frame_bytes_max: 2048,
        session_bytes_max: 4096,
        acks: Acks::None,
        shared: false,
        settings: &[],
        models: &[],
        commands: &[],
    };
}

/// What a protocol's acknowledgement of data covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// The tracker expects no answer to its data.
    None,
    /// Each frame is answered for itself.
    Frame,
    /// An answer covers everything before it.
    Cumulative,
}

/// A setting of a device that decoding may depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// The model, where models read the same bytes differently.
    Model,
    /// The secret that the tracker shows at login.
    Password,
    /// The report format that the tracker is configured with.
    Format,
    /// The zone of the device's clock.
    TimeZone,
}

impl Setting {
    /// Its name in configuration and REST.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Password => "password",
            Self::Format => "format",
            Self::TimeZone => "time_zone",
        }
    }
}

/// A model that people find on the box.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    /// Append-only within the protocol; 0 is kept for "any model".
    pub number: u16,
    /// The maker.
    pub vendor: &'static str,
    /// The name on the box, and the value of the setting `model` where decoding depends on it.
    pub name: &'static str,
}
