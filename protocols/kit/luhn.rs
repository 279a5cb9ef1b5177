//! The last digit of an IMEI, by Luhn's rule.

/// The digit that completes `digits`; `None` if there is anything but digits.
pub fn check_digit(digits: &str) -> Option<char> {
    let mut sum = 0;
    for (index, digit) in digits.bytes().rev().enumerate() {
        let digit = char::from(digit).to_digit(10)?;
        sum += match (index % 2, digit) {
            (0, 5..) => digit * 2 - 9,
            (0, _) => digit * 2,
            _ => digit,
        };
    }
    char::from_digit((10 - sum % 10) % 10, 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_digit_of_an_imei_follows_from_the_others() {
        assert_eq!(check_digit("86547807010206"), Some('8'));
        assert_eq!(check_digit("35630704244101"), Some('3'));
        assert_eq!(check_digit("3563x"), None);
    }
}
