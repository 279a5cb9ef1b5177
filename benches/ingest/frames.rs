//! Frames of a simulated Teltonika tracker.

use protocols::kit::checksum;

/// A frame with `records` records of 14 IO elements, the first at `time_ms`.
pub(crate) fn frame(time_ms: i64, records: u8) -> Vec<u8> {
    let mut body = vec![0x8e, records];
    for record in 0..records {
        body.extend_from_slice(&(time_ms + i64::from(record)).to_be_bytes());
        body.push(0);
        body.extend_from_slice(&253_216_320i32.to_be_bytes());
        body.extend_from_slice(&547_146_368i32.to_be_bytes());
        body.extend_from_slice(&[0, 90, 0, 180, 11, 0, 63]);
        body.extend_from_slice(&[0, 0, 0, 14]);
        for (width, ids) in [(1, 6u16), (2, 5), (4, 2), (8, 1)] {
            body.extend_from_slice(&ids.to_be_bytes());
            for id in 0..ids {
                body.extend_from_slice(&(1000 + id * 10 + width).to_be_bytes());
                body.extend(std::iter::repeat_n(7, usize::from(width)));
            }
        }
        body.extend_from_slice(&[0, 0]);
    }
    body.push(records);
    let mut frame = vec![0; 4];
    frame.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(&body);
    frame.extend_from_slice(&u32::from(checksum::crc16_ibm(&body)).to_be_bytes());
    frame
}
