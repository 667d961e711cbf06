//! An operator's hands on automation.

use sluice_config::Timestamp;
use sluice_control::api::view::Overrides;

use crate::moment::between;
use crate::terminal::{Paint, Table};

/// A row for each.
pub(super) fn lines(overrides: &Overrides, now: Timestamp, paint: Paint) -> Vec<String> {
    if overrides.overrides.is_empty() {
        return vec!["no override is laid".to_owned()];
    }
    let mut table = Table::new(&[">OVERRIDE", "ACTION", ">AGE", ">ENDS IN", "AUTHOR", "REASON"]);
    for (id, one) in &overrides.overrides {
        table.row([
            id.to_string().into(),
            one.action.to_string().into(),
            between(one.since, now).into(),
            between(now, one.expires).into(),
            one.author.as_str().into(),
            one.reason.as_str().into(),
        ]);
    }
    table.lines(paint)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::canned;

    #[test]
    fn overrides_are_told_with_their_end() {
        let overrides = canned::read(json!({ "overrides": { "7": canned::freeze(), "9": canned::force() } }));
        insta::assert_snapshot!(lines(&overrides, canned::now(), Paint::NONE).join("\n"));
        let none = canned::read(json!({ "overrides": {} }));
        assert_eq!(lines(&none, canned::now(), Paint::NONE), ["no override is laid"]);
    }
}
