//! Kubernetes quantities as exact integers, in thousandths of the unit.

/// Why a text is no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not `<number><suffix>`.
    #[error(
        "`{0}` is not a Kubernetes quantity; write a number with an optional suffix, e.g. 250m, 2, 1.5Gi"
    )]
    Malformed(String),
    /// More than an i128 of thousandths holds.
    #[error("the quantity `{0}` is too large")]
    TooLarge(String),
}

/// Parses a quantity into thousandths. Fractions of a thousandth round away from zero, as in Kubernetes'
/// `MilliValue` (apimachinery, `pkg/api/resource`).
///
/// # Errors
/// [`Error`], naming the text.
pub fn parse_milli(text: &str) -> Result<i128, Error> {
    let malformed = || Error::Malformed(text.to_owned());
    let too_large = || Error::TooLarge(text.to_owned());
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(malformed());
    }
    let (factor, exponent) = scale(suffix).ok_or_else(malformed)?;
    let mut value = 0i128;
    for digit in whole.bytes().chain(fraction.bytes()) {
        value = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(i128::from(digit - b'0')))
            .ok_or_else(too_large)?;
    }
    value = value.checked_mul(factor).ok_or_else(too_large)?;
    // Thousandths, minus the digits that stood behind the point.
    let shift = exponent + 3 - i32::try_from(fraction.len()).map_err(|_| malformed())?;
    let power = 10i128.checked_pow(shift.unsigned_abs());
    value = match (shift >= 0, power) {
        (true, Some(power)) => value.checked_mul(power).ok_or_else(too_large)?,
        (true, None) if value != 0 => return Err(too_large()),
        (false, Some(power)) => value / power + i128::from(value % power != 0),
        (false, None) => i128::from(value != 0),
        (true, None) => 0,
    };
    Ok(if negative { -value } else { value })
}

/// Binary factor and decimal exponent of a suffix.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => {
            let digits = suffix.strip_prefix(['e', 'E'])?;
            let exponent: i32 = digits.parse().ok()?;
            if exponent.abs() > 60 {
                return None;
            }
            (1, exponent)
        }
    })
}

/// The shortest plain form: an integer, or thousandths with `m`.
pub fn format_milli(milli: i128) -> String {
    if milli % 1000 == 0 { (milli / 1000).to_string() } else { format!("{milli}m") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_and_fractions_are_exact() {
        let cases = [
            ("0", 0),
            ("2", 2000),
            ("250m", 250),
            ("1.5", 1500),
            (".5", 500),
            ("1.", 1000),
            ("4Gi", 4 << 30),
            ("1.5Gi", 3 << 29),
            ("512Mi", 512 << 20),
            ("1k", 1_000_000),
            ("1E", 10i128.pow(21)),
            ("1E3", 1_000_000),
            ("12e-3", 12),
            ("-2", -2000),
            ("100n", 1),
            ("1500u", 2),
        ];
        for (text, expected) in cases {
            let factor = if text.ends_with('i') { 1000 } else { 1 };
            assert_eq!(parse_milli(text), Ok(expected * factor), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_and_named() {
        for text in ["", ".", "abc", "1Gb", "1.2.3", "1 Gi", "--1", "1e", "1e999", "Gi"] {
            assert_eq!(parse_milli(text), Err(Error::Malformed(text.into())), "{text}");
        }
        let huge = "9".repeat(60);
        assert_eq!(parse_milli(&huge), Err(Error::TooLarge(huge.clone())));
    }

    #[test]
    fn formatting_parses_back() {
        for milli in [0, 1, 999, 1000, 123_456_789, -5] {
            assert_eq!(parse_milli(&format_milli(milli)), Ok(milli));
        }
    }
}
