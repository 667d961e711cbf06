//! `sluice drift`: where what is live is not what the document says.

use sluice_control_core::drift::Drift;

use crate::cli::Exit;
use crate::client::Call;
use crate::show::{LookArgs, show};
use crate::terminal::Color;

/// Tells the drift. That there is some is no failure: live weights are there to be used.
///
/// # Errors
/// Nobody is reached, or there is no document.
pub(crate) fn run(args: &LookArgs, color: Color) -> anyhow::Result<Exit> {
    show(&args.client(color)?, &Call::get("/v1/drift"), |drift: &Drift, _| lines(drift))
}

fn lines(drift: &Drift) -> Vec<String> {
    let hint = (!drift.weights.is_empty()).then_some("`sluice export` prints the document with the live weights");
    drift.to_string().lines().chain(hint).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::canned;

    #[test]
    fn drift_is_told_with_what_to_do() {
        let weights = json!({ "service": "shop", "document": { "v1": "100%" }, "live": { "v1": "95%", "v2": "5%" },
            "owner": "operator", "author": "ann", "since": "2026-11-26T09:56:48Z", "reason": "try v2 on a few" });
        insta::assert_snapshot!(lines(&canned::read(json!({ "weights": [weights], "overrides": [] }))).join("\n"));
        let none = lines(&canned::read(json!({ "weights": [], "overrides": [] })));
        assert_eq!(none, ["what is live is what the document says"]);
    }
}
