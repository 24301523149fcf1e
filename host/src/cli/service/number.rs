//! Number: the numbers of a JSON text, as exact as they are written.
//!
//! A reader of JSON takes a number with a point or an exponent for a floating-point one, which holds whole numbers up
//! to 2^53; ids and scores are larger.

/// The largest number below which floating point tells all whole ones apart.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The digits of the largest number of 64 bits.
const DIGITS: usize = 20;

/// The text with whole numbers written as such: `12.0` and `1.2e1` as `12`.
///
/// # Errors
/// The first number that would lose digits.
pub(super) fn exact(json: &str) -> Result<String, String> {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string(rest),
            '-' | '0'..='9' => rest.find(|c: char| !"+-.eE0123456789".contains(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        if !token.starts_with(|c: char| c == '-' || c.is_ascii_digit()) || !token.contains(['.', 'e', 'E']) {
            out.push_str(token);
        } else if let Some(whole) = whole(token) {
            out.push_str(&whole);
        } else if token.parse::<f64>().is_ok_and(|number| number.abs() >= EXACT && significant(token) > 17) {
            return Err(token.to_owned());
        } else {
            out.push_str(token);
        }
    }
    Ok(out)
}

/// The length of the string that `text` begins with, quotes included.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, char) in text.char_indices().skip(1) {
        match char {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// A number without its point and exponent, if it is a whole one of at most 64 bits.
fn whole(token: &str) -> Option<String> {
    let (sign, digits) = token.strip_prefix('-').map_or(("", token), |digits| ("-", digits));
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let (before, behind) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i32 = exponent.parse().ok()?;
    let mut all = format!("{before}{behind}");
    if !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let point = i64::try_from(before.len()).ok()? + i64::from(exponent);
    if point > i64::try_from(all.len()).ok()? + DIGITS as i64 {
        return None;
    }
    let point = usize::try_from(point.max(0)).ok()?;
    while all.len() < point {
        all.push('0');
    }
    let (kept, fraction) = all.split_at(point);
    let kept = kept.trim_start_matches('0');
    let fits = kept.len() <= DIGITS && fraction.bytes().all(|digit| digit == b'0');
    fits.then(|| format!("{sign}{}", if kept.is_empty() { "0" } else { kept }))
}

/// How many digits a number has that say something.
fn significant(token: &str) -> usize {
    let mantissa = token.split(['e', 'E']).next().unwrap_or(token);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_what_they_are() {
        for (written, read) in [
            (r#"{"Id": 9007199254740993.0}"#, r#"{"Id": 9007199254740993}"#),
            ("[1e3,-1.50e1,0.0,1E+2,120e-1]", "[1000,-15,0,100,12]"),
            ("18446744073709551615.0", "18446744073709551615"),
            ("[0.5,1.25e-3,1e300,9007199254740993,-7]", "[0.5,1.25e-3,1e300,9007199254740993,-7]"),
            (r#"{"1.0\"2.0": "3.0", "ä": true}"#, r#"{"1.0\"2.0": "3.0", "ä": true}"#),
            ("1.e", "1.e"),
            ("-", "-"),
        ] {
            assert_eq!(exact(written).as_deref(), Ok(read), "{written}");
        }
        for lost in ["9007199254740993.25", "9007199254740993123456.5"] {
            assert_eq!(exact(&format!("{{\"Id\": {lost}}}")), Err(lost.to_owned()));
        }
    }
}
