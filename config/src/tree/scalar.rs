//! What a plain scalar is: the core schema of YAML 1.2.
//!
//! `on`, `off`, `yes` and `no` are texts here, as YAML 1.2 says; `off` means something to timeouts.

use super::Value;

/// The value of a plain scalar.
pub(crate) fn typed(text: String) -> Value {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(&text).unwrap_or(Value::Text(text)),
    }
}

fn number(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(digits) = text.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with(['-', '+'])).map(Value::Integer);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return i64::from_str_radix(digits, 8).ok().filter(|_| !digits.starts_with(['-', '+'])).map(Value::Integer);
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if let Ok(integer) = text.parse() {
        return Some(Value::Integer(integer));
    }
    let is_number =
        unsigned.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    // An infinity is not a number that anything here could use, and JSON cannot write it.
    text.parse().ok().filter(|float: &f64| is_number && float.is_finite()).map(Value::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_typed_by_the_core_schema() {
        for (text, value) in [
            ("", Value::Null),
            ("~", Value::Null),
            ("true", Value::Bool(true)),
            ("0", Value::Integer(0)),
            ("-12", Value::Integer(-12)),
            ("+12", Value::Integer(12)),
            ("0x1F", Value::Integer(31)),
            ("0o17", Value::Integer(15)),
            ("1.5", Value::Float(1.5)),
            ("1e3", Value::Float(1e3)),
            ("99999999999999999999", Value::Float(1e20)),
        ] {
            assert_eq!(typed(text.to_owned()), value, "{text:?}");
        }
        for text in [
            "off",
            "yes",
            "1.2.3.4",
            "1s",
            "-",
            ".",
            "e3",
            "inf",
            ".inf",
            "nan",
            "1e999",
            "0x",
            "0x-1",
            "--1",
            "127.0.0.1:80",
        ] {
            assert_eq!(typed(text.to_owned()), Value::Text(text.to_owned()), "{text:?}");
        }
    }
}
