//! Whom a tracker's certificate speaks for: names read from its subject.
//!
//! The certificate has been verified by then (signature, dates, authority); one that cannot be read all
//! the same names nobody. Common names stand for idents, organizational units for accounts by their number;
//! nothing else of a certificate is looked at. Bounds: [`NAMES_MAX`] of each, and what is longer
//! than an ident may be is no name.

use compact_str::CompactString;
use smallvec::SmallVec;
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{OID_X509_COMMON_NAME, OID_X509_ORGANIZATIONAL_UNIT};
use x509_parser::prelude::FromDer as _;

use protocols::Protocol;

use crate::account::Account;
use crate::ids::{AccountId, Ident};
use crate::registry::items::ClientBinds;

/// So many common names, and so many units, of one certificate are looked at.
const NAMES_MAX: usize = 8;
/// A longer name is none.
const NAME_BYTES_MAX: usize = 64;

/// What a certificate's subject says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    names: SmallVec<[CompactString; 1]>,
    units: SmallVec<[CompactString; 1]>,
}

impl Subject {
    /// Of a verified certificate in DER.
    pub(super) fn of(certificate: &[u8]) -> Self {
        let mut subject = Self::default();
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            return subject;
        };
        for attribute in certificate.subject().iter_attributes() {
            let kind = attribute.attr_type();
            let into = if *kind == OID_X509_COMMON_NAME {
                &mut subject.names
            } else if *kind == OID_X509_ORGANIZATIONAL_UNIT {
                &mut subject.units
            } else {
                continue;
            };
            if let Ok(text) = std::str::from_utf8(attribute.as_slice())
                && text.len() <= NAME_BYTES_MAX
                && into.len() < NAMES_MAX
            {
                into.push(CompactString::new(text));
            }
        }
        subject
    }

    /// Does it speak for this ident, of a device of this account?
    pub(super) fn speaks_for(
        &self,
        binds: ClientBinds,
        protocol: &Protocol,
        ident: &Ident,
        account: Option<&Account>,
    ) -> bool {
        match binds {
            ClientBinds::Nothing => true,
            ClientBinds::Ident => self
                .names
                .iter()
                .any(|name| protocol.ident(name).is_ok_and(|name| name == *ident)),
            // nobody's account is nobody's to speak for
            ClientBinds::Account => account.is_some_and(|account| {
                let mut numbers = self.units.iter().filter_map(|unit| unit.parse().ok());
                numbers.any(|id| account.is_or_is_below(AccountId(id)))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn certificate(names: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, text) in names {
            params.distinguished_name.push(kind.clone(), *text);
        }
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn common_names_and_units_are_read_and_nothing_else() {
        let der = certificate(&[
            (DnType::CountryName, "UA"),
            (DnType::OrganizationalUnitName, "17"),
            (DnType::CommonName, "356307042441013"),
            (DnType::OrganizationName, "acme"),
        ]);
        let subject = Subject::of(&der);
        assert_eq!(subject.names[..], ["356307042441013"]);
        assert_eq!(subject.units[..], ["17"]);
        let long = "x".repeat(65);
        let none = Subject::of(&certificate(&[(DnType::CommonName, &long)]));
        assert_eq!(none, Subject::default());
    }

    #[test]
    fn what_is_cut_short_or_flipped_is_read_without_harm() {
        let der = certificate(&[(DnType::CommonName, "356307042441013")]);
        for end in 0..der.len() {
            let cut = Subject::of(&der[..end]);
            assert!(cut.names.len() <= 1, "{cut:?}");
        }
        for bit in 0..der.len() * 8 {
            let mut changed = der.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Subject::of(&changed).names.len() <= 1);
        }
    }

    #[test]
    fn an_ident_is_compared_in_the_form_of_its_protocol() {
        let protocol = protocols::find("teltonika").unwrap();
        let ident = |text: &str| protocol.ident(text).unwrap();
        let of = |name| Subject::of(&certificate(&[(DnType::CommonName, name)]));
        let speaks = |subject: &Subject, binds| {
            subject.speaks_for(binds, protocol, &ident("356307042441013"), None)
        };
        assert!(speaks(&of("356307042441013"), ClientBinds::Ident));
        assert!(!speaks(&of("356307042441014"), ClientBinds::Ident));
        assert!(!speaks(&Subject::default(), ClientBinds::Ident));
        assert!(!speaks(&of("356307042441013"), ClientBinds::Account));
        assert!(speaks(&Subject::default(), ClientBinds::Nothing));
    }
}
