//! Is every field of a record as the dictionary has it?

use protocols::record::Datum;
use protocols::{Key, Kind, Record};

/// Appends a line for each field of `record` whose key or type the dictionary does not have.
pub(crate) fn check(record: &Record<'_>, misfits: &mut Vec<String>) {
    for (key, datum) in record.fields() {
        let Key::Known(id, instance) = key else {
            continue;
        };
        let Some(param) = id.param() else {
            misfits.push(format!("parameter {} is not in the dictionary", id.0));
            continue;
        };
        if param.has_instances() != (instance != 0) {
            misfits.push(format!(
                "{}: instance {instance} does not fit the name",
                param.name
            ));
        }
        let fits = matches!(
            (param.kind, &datum),
            (Kind::Any, _)
                | (Kind::Boolean, Datum::Bool(_))
                | (Kind::Number, Datum::Int(_) | Datum::Float(_))
                | (Kind::Text, Datum::Text(_))
        );
        if !fits {
            misfits.push(format!(
                "{}: {datum:?} is no {}",
                param.name,
                param.kind.name()
            ));
        }
    }
}
