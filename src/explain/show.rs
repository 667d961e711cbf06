//! The explanation for people.

use sluice_proxy::explain::{Answer, Explanation, Refusal, Unanswered};
use sluice_proxy::message;

use crate::terminal::{Cell, Paint, Table, Tone};

/// The lines of an explanation.
pub(super) fn lines(explanation: &Explanation, paint: Paint) -> Vec<String> {
    let mut lines = vec![line("Request", &explanation.request, paint)];
    lines.push(String::new());
    if let Some(refusal) = &explanation.refused {
        lines.push(paint.tone(Tone::Bad, &refused(refusal)));
        return lines;
    }
    lines.extend(considered(explanation).lines(paint));
    lines.push(String::new());
    match &explanation.answer {
        None => lines.push(paint.tone(Tone::Bad, "No route answers: the client gets 404.")),
        Some(answer) => lines.extend(answered(answer, paint)),
    }
    let basis = match &explanation.revision {
        Some(id) => format!("Live: as revision {id} runs now."),
        None => "Offline: every endpoint counts as verified, and nobody is asked for addresses that are discovered."
            .to_owned(),
    };
    lines.extend([String::new(), paint.tone(Tone::Faint, &basis)]);
    lines
}

fn refused(refusal: &Refusal) -> String {
    let Refusal { status, reason } = refusal;
    format!("The proxy refuses it: {status} {} ({reason}); no route is looked for.", message::reason(*status))
}

fn line(name: &str, text: &str, paint: Paint) -> String {
    format!("{}  {text}", paint.tone(Tone::Faint, &format!("{name:8}")))
}

fn considered(explanation: &Explanation) -> Table {
    let mut table = Table::new(&["ROUTE", "", "WHY"]);
    for considered in &explanation.considered {
        let mark = if considered.chosen { Cell::new("chosen", Tone::Good) } else { Cell::new("passed", Tone::Faint) };
        table.row([considered.route.as_str().into(), mark, considered.why.as_str().into()]);
    }
    if explanation.considered.is_empty() {
        table.row(["(none)".into(), Cell::default(), "no route has this host and path".into()]);
    }
    table
}

fn answered(answer: &Answer, paint: Paint) -> Vec<String> {
    let needs = format!("{:?} (by the {})", answer.capability, answer.capability_by).to_lowercase();
    let mut lines = vec![
        line("Service", &answer.service, paint),
        line("Needs", &needs, paint),
        line("Version", &answer.split, paint),
        line("Retries", &answer.retries, paint),
        String::new(),
    ];
    lines.extend(regions(answer).lines(paint));
    lines.push(String::new());
    lines.extend(endpoints(answer).lines(paint));
    if !answer.unanswered.is_empty() {
        lines.push(String::new());
        lines.extend(answer.unanswered.iter().map(|one| paint.tone(Tone::Bad, &unanswered(one))));
    }
    if !answer.sources.is_empty() {
        lines.push(String::new());
        lines.extend(sources(answer).lines(paint));
    }
    lines
}

/// `Refused: 20 % with 503 Service Unavailable (breaker_open). v2 in us-east-1: the breaker of its pool is open.`
fn unanswered(one: &Unanswered) -> String {
    let Unanswered { version, region, share, status, reason, why } = one;
    let assigned = version.iter().zip(region).map(|(version, region)| format!("{version} in {region}: "));
    let assigned: String = assigned.collect();
    let (share, words) = (percent(*share), message::reason(*status));
    format!("Refused: {share} with {status} {words} ({reason}). {assigned}{why}.")
}

fn regions(answer: &Answer) -> Table {
    let mut table = Table::new(&["REGION", "ROLE", ">SHARE", "VERSIONS", "WHY NOT"]);
    for placed in &answer.regions {
        let chosen = placed.versions.iter().filter(|version| version.share > 0.0);
        let versions: Vec<String> =
            chosen.map(|version| format!("{} {}", version.version, percent(version.share))).collect();
        table.row([
            placed.region.as_str().into(),
            format!("{:?}", placed.role).to_lowercase().into(),
            share(placed.share),
            versions.join(", ").into(),
            placed.why_not.as_deref().unwrap_or_default().into(),
        ]);
    }
    table
}

fn endpoints(answer: &Answer) -> Table {
    let mut table = Table::new(&["ENDPOINT", "REGION", "VERSION", ">SHARE", "WHY NOT"]);
    for reached in &answer.endpoints {
        table.row([
            reached.endpoint.as_str().into(),
            reached.region.as_str().into(),
            reached.version.as_str().into(),
            share(reached.share),
            reached.why_not.as_deref().unwrap_or_default().into(),
        ]);
    }
    table
}

fn sources(answer: &Answer) -> Table {
    let mut table = Table::new(&["DISCOVERED", "REGION", "VERSION"]);
    for asked in &answer.sources {
        table.row([asked.source.as_str().into(), asked.region.as_str().into(), asked.version.as_str().into()]);
    }
    table
}

fn share(share: f64) -> Cell {
    let tone = if share > 0.0 { Tone::Good } else { Tone::Faint };
    Cell::new(percent(share), tone)
}

/// To the ten-thousandth of a percent that a split can hold, without zeros that say nothing.
fn percent(share: f64) -> String {
    let digits = format!("{:.4}", share * 100.0);
    format!("{} %", digits.trim_end_matches('0').trim_end_matches('.'))
}
