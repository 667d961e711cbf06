//! `sluice events`: what happens, as it happens.

use serde_json::{Value, json};
use sluice_control_core::revision::Revision;

use crate::cli::{Exit, Output};
use crate::client::{Call, News, understand};
use crate::show::LookArgs;
use crate::terminal::{Color, print};
use crate::value::render;

/// Follows until Ctrl-C, one line for each event. JSON is one value a line, YAML one document an event.
///
/// # Errors
/// Nobody is reached, it is refused, or the stream is lost.
pub(crate) fn run(args: &LookArgs, color: Color) -> anyhow::Result<Exit> {
    let client = args.client(color)?;
    client.follow(&Call::get("/v1/events"), |news| Ok(print([line(news, client.form)?])?))?;
    Ok(Exit::Done)
}

fn line(news: News, form: Output) -> anyhow::Result<String> {
    let value = |news: News| json!({ "event": news.event, "data": news.data });
    Ok(match form {
        Output::Table => words(&news),
        Output::Json => value(news).to_string(),
        Output::Yaml => format!("---\n{}", render(&value(news), form)?),
    })
}

fn words(news: &News) -> String {
    let told = match news.event.as_str() {
        "revision" => revision(news),
        "missed" => format!("{} events came faster than they were read", news.data),
        _ => what(&news.data),
    };
    format!("{:<9} {told}", news.event)
}

fn revision(news: &News) -> String {
    match understand::<Revision>(news.data.clone()) {
        Ok(revision) => format!("{} ({}) by {}: {}", revision.id, revision.kind, revision.author, revision.reason),
        Err(_) => what(&news.data),
    }
}

/// The parts of an event that every one may have; what else there is, as it was told.
fn what(data: &Value) -> String {
    let inner = data.get("data").unwrap_or(data);
    let text = |name: &str| inner[name].as_str().map(str::to_owned);
    let parts = [text("node"), text("what"), inner["revision"].as_u64().map(|id| format!("(revision {id})"))];
    let words: Vec<String> = parts.into_iter().flatten().collect();
    match inner.as_str() {
        Some(text) => text.to_owned(),
        None if words.is_empty() => inner.to_string(),
        None => words.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canned;

    #[test]
    fn events_are_a_line_each() {
        let news = |event: &str, data: Value| News { event: event.to_owned(), data };
        let all = [
            news("revision", canned::revision_value(18, "weights")),
            news("node", json!({ "event": "node", "data": { "node": "edge-1", "what": "runs", "revision": 18 } })),
            news("file", json!("shop.yaml has 2 problems")),
            news("missed", json!(12)),
            news("comet", json!({ "tail": 1 })),
        ];
        let mut lines: Vec<String> = all.iter().map(words).collect();
        lines.push(line(all[3].clone(), Output::Json).unwrap());
        lines.push(line(all[1].clone(), Output::Yaml).unwrap());
        insta::assert_snapshot!(lines.join("\n"));
    }
}
