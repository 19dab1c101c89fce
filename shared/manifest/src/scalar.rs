//! What a plain scalar means: YAML 1.2's core schema, and the octal numbers that manifests write as `0644`.
//!
//! `yes`, `no`, `on` and `off` are text here, as is a date: where kubectl makes `false` of a `no`, the API server would
//! refuse it or the value would be another one than was written. Numbers mean what kubectl makes of them.

use serde_json::{Number, Value};

/// Largest whole number that a float holds exactly: kubectl writes `1e3` as 1000.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// What a plain scalar is, or why it cannot be said in JSON.
pub(crate) fn resolve(text: &str) -> Result<Value, &'static str> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    let first = text.as_bytes().first().copied().unwrap_or_default();
    if (first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.'))
        && let Some(number) = number(text)?
    {
        return Ok(Value::Number(number));
    }
    Ok(Value::String(text.to_owned()))
}

const TOO_LARGE: &str = "the number is larger than a manifest can hold; put it in quotes";

fn number(text: &str) -> Result<Option<Number>, &'static str> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if matches!(digits, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err("infinity and NaN cannot be said in JSON; put it in quotes");
    }
    let radix = match digits.as_bytes() {
        [b'0', b'x', rest @ ..] if is_digits(rest, 16) => Some((&digits[2..], 16)),
        [b'0', b'o', rest @ ..] if is_digits(rest, 8) => Some((&digits[2..], 8)),
        [b'0', rest @ ..] if !rest.is_empty() && is_digits(rest, 8) => Some((&digits[1..], 8)),
        // 0899 is neither octal nor decimal to everybody: text.
        [b'0', rest @ ..] if !rest.is_empty() && is_digits(rest, 10) => return Ok(None),
        all if is_digits(all, 10) => Some((digits, 10)),
        _ => None,
    };
    if let Some((digits, radix)) = radix {
        let whole = i128::from_str_radix(digits, radix).map_err(|_| TOO_LARGE)?;
        let whole = if negative { -whole } else { whole };
        if let Ok(whole) = i64::try_from(whole) {
            return Ok(Some(whole.into()));
        }
        return u64::try_from(whole).map(|whole| Some(whole.into())).map_err(|_| TOO_LARGE);
    }
    if !is_float(digits) {
        return Ok(None);
    }
    let value: f64 = text.parse().map_err(|_| TOO_LARGE)?;
    if !value.is_finite() {
        return Err(TOO_LARGE);
    }
    if value.fract() == 0.0 && value.abs() < WHOLE_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
        return Ok(Some((value as i64).into()));
    }
    Ok(Number::from_f64(value))
}

fn is_digits(text: &[u8], radix: u32) -> bool {
    !text.is_empty() && text.iter().all(|byte| char::from(*byte).is_digit(radix))
}

/// `1.5`, `.5`, `1.`, `1e3`, `1.5E-3`.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let exponent_stands = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        is_digits(digits.as_bytes(), 10)
    });
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    exponent_stands && digits(whole) && digits(part) && !(whole.is_empty() && part.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_mean_what_they_say() {
        for (text, expected) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("True", json!(true)),
            ("no", json!("no")),
            ("Yes", json!("Yes")),
            ("off", json!("off")),
            ("y", json!("y")),
            ("2001-01-01", json!("2001-01-01")),
            ("12:30:45", json!("12:30:45")),
            ("1_000", json!("1_000")),
            ("0b11", json!("0b11")),
            ("0o10", json!(8)),
            ("0644", json!(420)),
            ("0x1F", json!(31)),
            ("0899", json!("0899")),
            ("0", json!(0)),
            ("-7", json!(-7)),
            ("18446744073709551615", json!(u64::MAX)),
            ("1e3", json!(1000)),
            ("1.0", json!(1)),
            ("1.5", json!(1.5)),
            ("-.5", json!(-0.5)),
            ("1.2.3", json!("1.2.3")),
            ("1.", json!(1)),
            (".", json!(".")),
            ("-", json!("-")),
            ("1e", json!("1e")),
            ("e3", json!("e3")),
            ("v1", json!("v1")),
            ("10Gi", json!("10Gi")),
        ] {
            assert_eq!(resolve(text), Ok(expected), "{text}");
        }
        for text in
            [".inf", "-.INF", ".nan", "1e400", "99999999999999999999", "0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"]
        {
            assert!(resolve(text).is_err(), "{text}");
        }
    }
}
