//! `sluice audit`: what was changed, denied and refused, and whether the log is whole.

use clap::{Args, Subcommand};
use sluice_config::Timestamp;
use sluice_control::api::view::{Audit, Verified};
use sluice_control_core::audit::{Entry, Outcome};

use crate::cli::Exit;
use crate::client::Call;
use crate::moment::{between, now};
use crate::show::{LookArgs, show};
use crate::terminal::{Cell, Color, Paint, Table, Tone};

/// What to do with the log.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: Option<AuditCommand>,
    #[command(flatten)]
    list: ListArgs,
}

/// Besides listing it.
#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Recompute every seal, and tell the end of the log or where it is broken
    Verify(LookArgs),
}

/// Which entries.
#[derive(Debug, Args)]
struct ListArgs {
    /// Only entries above this number
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=i64::MAX.unsigned_abs()))]
    after: u64,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    look: LookArgs,
}

/// Lists the log, or proves it.
///
/// # Errors
/// Nobody is reached, or it is refused.
pub(crate) fn run(args: &AuditArgs, color: Color) -> anyhow::Result<Exit> {
    match &args.command {
        Some(AuditCommand::Verify(look)) => verify(look, color),
        None => {
            let now = now();
            let call =
                Call::get("/v1/audit").query("after", Some(args.list.after)).query("limit", Some(args.list.limit));
            show(&args.list.look.client(color)?, &call, |audit, paint| lines(audit, now, paint))
        }
    }
}

fn verify(look: &LookArgs, color: Color) -> anyhow::Result<Exit> {
    let mut exit = Exit::Done;
    let call = Call::get("/v1/audit/verify");
    let client = look.client(color)?;
    let verified: Verified = client.call(&call)?.read()?;
    if !verified.sound {
        exit = Exit::Refused;
    }
    show(&client, &call, |verified: &Verified, paint| vec![verdict(verified).painted(paint)])?;
    Ok(exit)
}

fn verdict(verified: &Verified) -> Cell {
    let head = &verified.head;
    match &verified.broken {
        Some(broken) => {
            let sound = format!("{} entries before it are sound, up to {}", head.sequence, head.hash);
            Cell::new(format!("the log is broken: {broken}; {sound}"), Tone::Bad)
        }
        None => Cell::new(format!("{} entries are sound, up to {}", head.sequence, head.hash), Tone::Good),
    }
}

fn lines(audit: &Audit, now: Timestamp, paint: Paint) -> Vec<String> {
    let mut table =
        Table::new(&[">ENTRY", ">AGE", "WHO", "FROM", "ACTION", "TARGET", ">REVISION", "OUTCOME", "REASON"]);
    audit.entries.iter().for_each(|entry| table.row(row(entry, now)));
    let mut lines = table.lines(paint);
    lines.extend(audit.after.map(|after| format!("there are later ones: --after {after}")));
    lines
}

fn row(entry: &Entry, now: Timestamp) -> [Cell; 9] {
    let event = &entry.event;
    let outcome = match &event.outcome {
        Outcome::Done => Cell::new("done", Tone::Good),
        Outcome::Denied(why) => Cell::new(format!("denied: {why}"), Tone::Bad),
        Outcome::Refused(why) => Cell::new(format!("refused: {why}"), Tone::Bad),
    };
    [
        entry.sequence.to_string().into(),
        between(event.at, now).into(),
        event.author.as_str().into(),
        event.origin.as_str().into(),
        event.action.as_str().into(),
        event.target.as_str().into(),
        event.revision.map(|id| id.to_string()).unwrap_or_default().into(),
        outcome,
        event.reason.as_ref().map(|reason| reason.as_str().to_owned()).unwrap_or_default().into(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::canned;

    fn entry(sequence: u64, outcome: Value, reason: Option<&str>) -> Value {
        let event = json!({ "at": "2026-11-26T09:56:48Z", "author": "ann", "origin": "127.0.0.1", "action": "shift",
            "target": "shop", "reason": reason, "outcome": outcome, "revision": reason.map(|_| 18) });
        json!({ "sequence": sequence, "event": event, "previous": "0".repeat(64), "hash": "1".repeat(64) })
    }

    #[test]
    fn the_log_is_told_with_what_was_denied() {
        let entries = [
            entry(1, json!("done"), Some("try v2 on a few")),
            entry(2, json!({ "denied": "viewers may not shift" }), None),
            entry(3, json!({ "refused": "there is no service shap" }), None),
        ];
        let audit = canned::read(json!({ "entries": entries, "after": 3 }));
        let verified = |broken: Value| {
            let head = json!({ "sequence": 3, "hash": "1".repeat(64) });
            let verified: Verified = canned::read(json!({ "sound": broken.is_null(), "head": head, "broken": broken }));
            verdict(&verified).painted(Paint::NONE)
        };
        let mut all = lines(&audit, canned::now(), Paint::NONE);
        all.push(verified(Value::Null));
        all.push(verified(json!({ "sequence": 4, "cause": "content" })));
        insta::assert_snapshot!(all.join("\n"));
    }
}
