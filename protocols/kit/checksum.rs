//! Checksums by the names their vendors use. Polynomials as in the catalogue of the crate `crc`.

use crc::{Crc, Table};

static CRC16_IBM: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&crc::CRC_16_ARC);
static CRC16_X25: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&crc::CRC_16_IBM_SDLC);
static CRC16_CCITT_FALSE: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&crc::CRC_16_IBM_3740);
static CRC16_XMODEM: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&crc::CRC_16_XMODEM);
static CRC16_MODBUS: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&crc::CRC_16_MODBUS);
static CRC16_KERMIT: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&crc::CRC_16_KERMIT);
static CRC8_EGTS: Crc<u8, Table<16>> = Crc::<u8, Table<16>>::new(&crc::CRC_8_NRSC_5);
static CRC32: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&crc::CRC_32_ISO_HDLC);

/// CRC-16/IBM, also called ARC (Teltonika).
pub fn crc16_ibm(bytes: &[u8]) -> u16 {
    CRC16_IBM.checksum(bytes)
}

/// CRC-16/X.25 (GT06).
pub fn crc16_x25(bytes: &[u8]) -> u16 {
    CRC16_X25.checksum(bytes)
}

/// CRC-16/CCITT with initial value FFFF.
pub fn crc16_ccitt_false(bytes: &[u8]) -> u16 {
    CRC16_CCITT_FALSE.checksum(bytes)
}

/// CRC-16/XMODEM: CCITT with initial value 0.
pub fn crc16_xmodem(bytes: &[u8]) -> u16 {
    CRC16_XMODEM.checksum(bytes)
}

/// CRC-16/MODBUS.
pub fn crc16_modbus(bytes: &[u8]) -> u16 {
    CRC16_MODBUS.checksum(bytes)
}

/// CRC-16/KERMIT.
pub fn crc16_kermit(bytes: &[u8]) -> u16 {
    CRC16_KERMIT.checksum(bytes)
}

/// CRC-8 of polynomial 31 that begins with FF (EGTS, Navtelecom).
pub fn crc8_egts(bytes: &[u8]) -> u8 {
    CRC8_EGTS.checksum(bytes)
}

/// CRC-32 as in Ethernet and zip.
pub fn crc32(bytes: &[u8]) -> u32 {
    CRC32.checksum(bytes)
}

/// All bytes combined by exclusive or.
pub fn xor(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum ^ byte)
}

/// All bytes added, modulo 256.
pub fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values_are_the_catalogues() {
        let check = b"123456789";
        assert_eq!(crc16_ibm(check), 0xbb3d);
        assert_eq!(crc16_x25(check), 0x906e);
        assert_eq!(crc16_ccitt_false(check), 0x29b1);
        assert_eq!(crc16_xmodem(check), 0x31c3);
        assert_eq!(crc16_modbus(check), 0x4b37);
        assert_eq!(crc16_kermit(check), 0x2189);
        assert_eq!(crc8_egts(check), 0xf7);
        assert_eq!(crc32(check), 0xcbf4_3926);
        assert_eq!(xor(&[1, 2, 4]), 7);
        assert_eq!(sum(&[255, 2]), 1);
    }
}
