//! How what is live differs from the document that was applied last: what somebody who reads Git does not see.
//!
//! A service whose weights are not the document's is told even where the shares are equal: the next document that changes
//! them will be refused, and that is what drift means to its author.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_config::name::ServiceName;
use sluice_config::overlay::{Action, Author, LiveWeights, Owner, Reason};
use sluice_config::share::Shares;
use sluice_config::timestamp::Timestamp;
use sluice_config::value::{Digest, RevisionId};

use crate::change::Head;

/// What is live beside the document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drift {
    /// The services whose weights are not the document's, by name.
    pub weights: Vec<Drifted>,
    /// The overrides, the oldest first.
    pub overrides: Vec<Overridden>,
    /// The digest of the file's text that a rollback has parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<Digest>,
}

/// A service whose weights are not the document's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drifted {
    /// The service.
    pub service: ServiceName,
    /// By the document.
    pub document: Shares,
    /// As they are.
    pub live: Shares,
    /// Whose they are.
    pub owner: Owner,
    /// Who set them.
    pub author: Author,
    /// When.
    pub since: Timestamp,
    /// Why.
    pub reason: Reason,
    /// When they end by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// An override.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Overridden {
    /// Its number.
    pub id: RevisionId,
    /// What it does.
    pub action: Action,
    /// Who laid it.
    pub author: Author,
    /// When.
    pub since: Timestamp,
    /// Why.
    pub reason: Reason,
    /// When it ends by itself.
    pub expires: Timestamp,
}

/// How what is live differs from the document.
#[must_use]
pub fn drift(head: &Head) -> Drift {
    let overlay = &head.revision.overlay;
    let overrides = overlay.overrides.iter().map(|(id, one)| Overridden {
        id: *id,
        action: one.action.clone(),
        author: one.author.clone(),
        since: one.since,
        reason: one.reason.clone(),
        expires: one.expires,
    });
    let weights = overlay.weights.iter().filter_map(|(service, weights)| Drifted::of(head, service, weights));
    Drift { weights: weights.collect(), overrides: overrides.collect(), parked: head.revision.parked }
}

impl Drift {
    /// Whether the document says it all.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.weights.is_empty() && self.overrides.is_empty() && self.parked.is_none()
    }
}

impl Drifted {
    fn of(head: &Head, service: &ServiceName, weights: &LiveWeights) -> Option<Self> {
        Some(Self {
            service: service.clone(),
            document: head.by_document(service)?,
            live: weights.shares.clone(),
            owner: weights.owner,
            author: weights.author.clone(),
            since: weights.since,
            reason: weights.reason.clone(),
            until: weights.until.as_ref().map(|until| until.at),
        })
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return f.write_str("what is live is what the document says");
        }
        let weights = self.weights.iter().map(ToString::to_string);
        let overrides = self.overrides.iter().map(ToString::to_string);
        let parked = self.parked.iter().map(|digest| {
            let short: String = digest.to_string().chars().take(12).collect();
            format!("the file's text {short} is parked by a rollback: it is not applied until the file changes")
        });
        f.write_str(&weights.chain(overrides).chain(parked).collect::<Vec<_>>().join("\n"))
    }
}

/// `shop: v1=75% v2=25% live, v1=95% v2=5% in the document; the operator's, by ann since 2026-11-26T09:30:00.000Z: try v2`
impl fmt::Display for Drifted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, document, live, owner, author, since, reason, until } = self;
        match document == live {
            true => write!(f, "{service}: {live} as in the document; ")?,
            false => write!(f, "{service}: {live} live, {document} in the document; ")?,
        }
        write!(f, "the {owner}'s, by {author} since {since}")?;
        if let Some(until) = until {
            write!(f, " until {until}")?;
        }
        write!(f, ": {reason}")
    }
}

/// `override 7: freeze until 2026-11-26T10:00:00.000Z, by ann since 2026-11-26T09:30:00.000Z: incident`
impl fmt::Display for Overridden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, action, author, since, reason, expires } = self;
        write!(f, "override {id}: {action} until {expires}, by {author} since {since}: {reason}")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use sluice_config::Environment;

    use super::*;
    use crate::change::{Proposal, Shift, Wish, Written, apply, lay, roll_back, shift};

    const TEXT: &str = r#"
listeners: [{ name: web, address: "127.0.0.1:8080" }]
services:
  - name: shop
    versions:
      - { name: v1, weight: 95, endpoints: ["127.0.0.1:9001"] }
      - { name: v2, weight: 5, endpoints: ["127.0.0.1:9002"] }
routes: [{ service: shop }]
"#;

    fn commit(head: Option<&Head>, proposal: Proposal) -> Head {
        let now = Timestamp::from_millis(1_795_685_400_000);
        let (revision, document) = proposal.revision(head, "ann".parse().unwrap(), "why".parse().unwrap(), now);
        let document = document.map_or_else(|| Arc::clone(&head.unwrap().document), Arc::new);
        Head::new(Arc::new(revision), document).unwrap()
    }

    fn shifted(head: &Head, share: &str, lasts: Option<Duration>) -> Head {
        let shares = [("v2".parse().unwrap(), share.parse().unwrap())].into();
        let order = Shift { service: "shop".parse().unwrap(), shares, lasts };
        let now = Timestamp::from_millis(1_795_685_400_000);
        commit(Some(head), shift(head, &order, &"ann".parse().unwrap(), &"try v2".parse().unwrap(), now).unwrap())
    }

    #[test]
    fn drift_is_told_with_whose_it_is_since_when_and_why() {
        let now = Timestamp::from_millis(1_795_685_400_000);
        let written = Written::new(TEXT, &Environment::empty()).unwrap();
        let head = commit(None, apply(None, &written, false, &Environment::empty()).unwrap());
        insta::assert_snapshot!(drift(&head), @"what is live is what the document says");
        insta::assert_snapshot!(drift(&shifted(&head, "5%", None)), @"shop: v1=95% v2=5% as in the document; the operator's, by ann since 2026-11-26T09:30:00.000Z: try v2");
        let shifted = shifted(&head, "25%", Some(Duration::from_secs(7_200)));
        let why = "incident".parse().unwrap();
        let frozen = lay(&shifted, &Wish::Freeze, Duration::from_secs(60), &"bob".parse().unwrap(), &why, now);
        let frozen = commit(Some(&shifted), frozen.unwrap());
        let file = Some(Digest::of(b"another text"));
        let other = Written::new(&TEXT.replace("9002", "9003"), &Environment::empty()).unwrap();
        let applied = commit(Some(&frozen), apply(Some(&frozen), &other, false, &Environment::empty()).unwrap());
        let back = roll_back(&applied, &frozen.revision, &frozen.document, false, file, now).unwrap();
        let drift = drift(&commit(Some(&applied), back));
        insta::assert_snapshot!(drift, @r"
        shop: v1=75% v2=25% live, v1=95% v2=5% in the document; the operator's, by ann since 2026-11-26T09:30:00.000Z until 2026-11-26T11:30:00.000Z: try v2
        override 3: freeze until 2026-11-26T09:31:00.000Z, by bob since 2026-11-26T09:30:00.000Z: incident
        the file's text 4895ecc6f0c0 is parked by a rollback: it is not applied until the file changes
        ");
        let json = serde_json::to_value(&drift).unwrap();
        assert_eq!(json["weights"][0]["live"]["v2"], "25%");
        assert_eq!((&json["overrides"][0]["id"], &json["overrides"][0]["action"]), (&3.into(), &"freeze".into()));
    }
}
