//! Decoders of GPS trackers' protocols: no I/O, no clock, no accounts. `ls` of this folder is the
//! list of them.
//!
//! [`contract`] is what a decoder implements and what drives it, `kit` holds the tricks that
//! several of them need, and every other module is one protocol. A protocol imports `contract` and
//! `kit`, never another protocol. Adding one is one file, one `mod` line, one row in the table
//! below and its fixtures: see `docs/adding-a-protocol.md`.
//!
//! ```text
//! bytes -> Decode::cut -> whole frame -> Decode::frame -> events (login, message, reply, ...)
//! ```

pub mod contract;
pub mod kit;

mod arnavi;
mod atrack;
mod bce;
mod castel;
mod cellocator;
mod easytrack;
mod eelink;
mod egts;
mod fifotrack;
mod galileo;
mod gl200;
mod gosafe;
mod gps103;
mod gt06;
mod h02;
mod huasheng;
mod its;
mod jt600;
mod jt808;
mod meiligao;
mod meitrack;
mod minifinder2;
mod navis;
mod ruptela;
mod starlink;
mod startek;
mod suntech;
mod t800x;
mod taip;
mod teltonika;
mod tk103;
mod topin;
mod totem;
mod trv;
mod upro;
mod watch;
mod wialon;
mod xexun;
mod xexun2;
mod xirgo;

pub use contract::*;

/// Every protocol this build speaks, in name order. The number is append-only and is what is
/// stored; the module's name is the name in configuration, REST, metrics and fixtures.
macro_rules! table {
    ($($number:literal $module:ident,)*) => {
        /// Every protocol this build speaks, in name order.
        pub static PROTOCOLS: &[Protocol] = &[
            $(Protocol::of::<$module::Decoder>($number),)*
        ];

        #[cfg(test)]
        const MODULES: &[&str] = &[$(stringify!($module)),*];
    };
}

table! {
    16 arnavi,
    21 atrack,
    40 bce,
    19 castel,
    22 cellocator,
    35 easytrack,
    18 eelink,
    14 egts,
    23 fifotrack,
    13 galileo,
    6 gl200,
    31 gosafe,
    7 gps103,
    2 gt06,
    3 h02,
    36 huasheng,
    39 its,
    37 jt600,
    5 jt808,
    30 meiligao,
    11 meitrack,
    28 minifinder2,
    15 navis,
    10 ruptela,
    38 starlink,
    24 startek,
    9 suntech,
    17 t800x,
    29 taip,
    1 teltonika,
    8 tk103,
    34 topin,
    20 totem,
    33 trv,
    32 upro,
    12 watch,
    4 wialon,
    26 xexun,
    27 xexun2,
    25 xirgo,
}

/// The protocol of that name.
pub fn find(name: &str) -> Option<&'static Protocol> {
    PROTOCOLS.iter().find(|protocol| protocol.info.name == name)
}

/// The protocol of that stored number.
pub fn by_number(number: u16) -> Option<&'static Protocol> {
    PROTOCOLS.iter().find(|protocol| protocol.number == number)
}

/// The name of the protocol of that stored number; of one that is not there any more a question mark.
pub fn name_of(number: u16) -> &'static str {
    by_number(number).map_or("?", |protocol| protocol.info.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_table_is_in_name_order_and_each_row_is_named_after_its_module() {
        let names: Vec<_> = PROTOCOLS
            .iter()
            .map(|protocol| protocol.info.name)
            .collect();
        assert_eq!(names, MODULES);
        assert!(names.is_sorted());
        let numbers: HashSet<_> = PROTOCOLS.iter().map(|protocol| protocol.number).collect();
        assert_eq!(numbers.len(), PROTOCOLS.len(), "a number twice");
        assert!(!numbers.contains(&0), "0 stands for no protocol");
    }
}
