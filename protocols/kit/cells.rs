//! Cell towers into a record: the serving cell first, its neighbours numbered from 1.

use crate::contract::{Instance, RecordBuilder, fields};

/// A cell tower; what the device does not say is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cell {
    /// Mobile country code.
    pub mcc: Option<i64>,
    /// Mobile network code.
    pub mnc: Option<i64>,
    /// Location area code.
    pub lac: Option<i64>,
    /// Cell id.
    pub id: Option<i64>,
    /// Signal power, dBm.
    pub dbm: Option<i64>,
}

/// Adds a cell: number 0 is the one that serves, others are its neighbours.
pub fn push(message: &mut RecordBuilder<'_>, number: Instance, cell: Cell) {
    let [mcc, mnc, lac, id, dbm] = if number == 0 {
        [
            fields::GSM_MCC,
            fields::GSM_MNC,
            fields::GSM_LAC,
            fields::GSM_CELLID,
            fields::GSM_SIGNAL_DBM,
        ]
    } else {
        [
            fields::GSM_MCC_N,
            fields::GSM_MNC_N,
            fields::GSM_LAC_N,
            fields::GSM_CELLID_N,
            fields::GSM_SIGNAL_DBM_N,
        ]
    };
    message.push_some((mcc, number), cell.mcc);
    message.push_some((mnc, number), cell.mnc);
    message.push_some((lac, number), cell.lac);
    message.push_some((id, number), cell.id);
    message.push_some((dbm, number), cell.dbm);
}

/// Is it a mobile country code? They run from 200 to 799 (001 is for tests).
pub fn is_mcc(code: i64) -> bool {
    (200..800).contains(&code)
}
