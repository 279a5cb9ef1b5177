//! From the wire's units to the dictionary's.

/// Knots to km/h, to three decimals.
pub fn knots(knots: f64) -> f64 {
    round(knots * 1.852, 3)
}

/// Miles per hour, or miles, to km/h, or km, to three decimals.
pub fn miles(miles: f64) -> f64 {
    round(miles * 1.609_344, 3)
}

/// `value` rounded to `decimals` decimal places, so that a conversion does not invent digits.
pub fn round(value: f64, decimals: i32) -> f64 {
    let scale = power_of_ten(decimals);
    let scaled = value * scale;
    if scaled.abs() < 9e15 {
        scaled.round() / scale
    } else {
        value
    }
}

/// An integer with an implied decimal point: `scaled(12345, 3)` is 12.345.
pub fn scaled(value: i64, decimals: i32) -> f64 {
    value as f64 / power_of_ten(decimals)
}

/// A table for the powers that formats have: to multiply them out costs more than the conversion.
fn power_of_ten(exponent: i32) -> f64 {
    const POWERS: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
    usize::try_from(exponent)
        .ok()
        .and_then(|index| POWERS.get(index).copied())
        .unwrap_or_else(|| 10f64.powi(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::float_cmp, reason = "rounded values are exact")]
    fn units_do_not_invent_digits() {
        assert_eq!(knots(10.0), 18.52);
        assert_eq!(knots(3.34), 6.186);
        assert_eq!(miles(10.0), 16.093);
        assert_eq!(scaled(12345, 3), 12.345);
        for exponent in -3..15 {
            assert_eq!(power_of_ten(exponent), 10f64.powi(exponent));
        }
    }
}
