//! A result for machines, as JSON or YAML.

use serde_json::Value;

use crate::cli::Output;

/// The text of a value, without a line end. What is not YAML is JSON.
///
/// # Errors
/// None that a value of ours can cause.
pub(crate) fn render(value: &Value, form: Output) -> anyhow::Result<String> {
    Ok(match form {
        Output::Yaml => serde_saphyr::to_string(value)?.trim_end().to_owned(),
        Output::Table | Output::Json => serde_json::to_string_pretty(value)?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_cannot_be_taken_for_something_else() {
        let value = json!({ "a": [1, null, true], "b": { "on": "on", "n": "0x1", "d": "127.0.0.1:80", "e": "a: b" } });
        let yaml = render(&value, Output::Yaml).unwrap();
        insta::assert_snapshot!(yaml);
        assert_eq!(serde_json::from_str::<Value>(&render(&value, Output::Json).unwrap()).unwrap(), value);
    }
}
