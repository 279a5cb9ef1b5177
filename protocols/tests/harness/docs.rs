//! The page that is generated from the dictionary, so that it cannot differ from it.

use protocols::fields;
use std::fmt::Write as _;

/// docs/message-fields.md: the dictionary.
pub(crate) fn message_fields() -> String {
    let mut page = String::from(
        "# Message parameters\n\n\
         Written by `cargo xtask fields` from `protocols/contract/fields/dictionary.rs`; a test keeps the two equal.\n\n\
         A message is a flat JSON object. Besides what its protocol says it holds `ident`, `timestamp` (unix\n\
         seconds of the device, or of the receipt where it sent none), `server.timestamp`, `channel.id`,\n\
         `protocol.id`, `decoder.version`, `peer`, and for a registered device `device.id`, `device.name` and `device.type.id`.\n\
         Names follow flespi's where flespi has one. The same meaning has the same name and unit in every protocol;\n\
         a segment `N` stands for the number of one of several. What a decoder does not know it keeps: under\n\
         `custom.param.<number>` what the wire numbers, under `custom.<name>` what the wire names; bytes are hex.\n\n\
         The number is what is stored. It is append-only: no row is ever renumbered, no name used again.\n\n\
         | name | type | unit | meaning | number |\n|---|---|---|---|---|\n",
    );
    for param in fields::DICTIONARY {
        writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            param.name,
            param.kind.name(),
            param.unit,
            param.meaning,
            param.id.0
        )
        .expect("a String takes everything");
    }
    page
}
