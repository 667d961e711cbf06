//! The store's operations as SQL, each in one transaction.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};
use serde::de::DeserializeOwned;
use sluice_config::timestamp::Timestamp;
use sluice_config::value::{Digest, RevisionId};
use sluice_control_core::audit::{Entry, Event, Head};
use sluice_control_core::revision::{Document, Revision};

use super::Shared;
use super::failure::Failure;
use super::open::Place;
use crate::store::{Answered, Change, CommitError, KEPT, Once, StoreError};

/// The open database. It lives on one thread.
#[derive(Debug)]
pub(super) struct Engine {
    /// Closed before the place is given up: fields are dropped in this order.
    connection: Connection,
    place: Place,
    shared: Arc<Shared>,
}

impl Engine {
    pub(super) const fn new(connection: Connection, place: Place, shared: Arc<Shared>) -> Self {
        Self { connection, place, shared }
    }

    /// A failure in words.
    pub(super) fn tell(&self, failure: Failure) -> StoreError {
        failure.tell(&self.place.path)
    }

    #[cfg(test)]
    pub(super) const fn connection(&self) -> &Connection {
        &self.connection
    }

    fn write(&mut self) -> Result<Transaction<'_>, Failure> {
        self.place.is_kept()?;
        Ok(self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    /// The outer error is the store's, the inner one the verdict on the change.
    pub(super) fn commit(
        &mut self,
        expected: Option<RevisionId>,
        change: Change,
    ) -> Result<Result<Arc<Revision>, CommitError>, Failure> {
        change.fits(expected)?;
        let transaction = self.write()?;
        if let Some(verdict) = refuse(&transaction, expected, &change)? {
            return Ok(Err(verdict));
        }
        put_document(&transaction, &change)?;
        put_revision(&transaction, &change.revision)?;
        if let Some(once) = &change.once {
            put_answer(&transaction, once, change.revision.id, change.event.at)?;
        }
        seal(&transaction, change.event)?;
        transaction.commit()?;
        let revision = Arc::new(change.revision);
        self.shared.committed(&revision, change.document.map(Arc::new));
        Ok(Ok(revision))
    }

    pub(super) fn record(&mut self, event: Event) -> Result<Entry, Failure> {
        let transaction = self.write()?;
        let entry = seal(&transaction, event)?;
        transaction.commit()?;
        Ok(entry)
    }

    pub(super) fn check(&mut self) -> Result<(), Failure> {
        let transaction = self.write()?;
        if let Some(id) = head(&transaction)?
            && get(&transaction, id)?.is_none()
        {
            return Err(Failure::Damaged(format!("its index has revision {id}, its table has not")));
        }
        transaction.execute("UPDATE store SET touched = touched + 1", ())?;
        Ok(transaction.commit()?)
    }

    pub(super) fn head(&self) -> Result<Option<RevisionId>, Failure> {
        head(&self.connection)
    }

    pub(super) fn get(&self, id: RevisionId) -> Result<Option<Revision>, Failure> {
        get(&self.connection, id)
    }

    pub(super) fn document(&self, key: Digest) -> Result<Option<Document>, Failure> {
        let sql = "SELECT source, json FROM documents WHERE key = ?1";
        let document = |row: &rusqlite::Row<'_>| Ok(Document { source: row.get(0)?, json: row.get(1)? });
        let found = self.connection.query_row(sql, [key.to_string()], document).optional()?;
        match found {
            Some(document) if document.key() != key => {
                Err(Failure::Damaged(format!("the document {key} does not have its digest")))
            }
            found => Ok(found),
        }
    }

    pub(super) fn list(&self, before: Option<RevisionId>, limit: usize) -> Result<Vec<Revision>, Failure> {
        let sql = "SELECT id, content FROM revisions WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
        let before = before.map_or(i64::MAX, |before| number(before.0));
        self.read_rows(sql, (before, number(limit)), "revision")
    }

    pub(super) fn audit(&self, after: u64, limit: usize) -> Result<Vec<Entry>, Failure> {
        let sql = "SELECT sequence, entry FROM audit WHERE sequence > ?1 ORDER BY sequence LIMIT ?2";
        self.read_rows(sql, (number(after), number(limit)), "audit entry")
    }

    pub(super) fn audit_head(&self) -> Result<Head, Failure> {
        audit_head(&self.connection)
    }

    pub(super) fn answered(&self, key: &str) -> Result<Option<Answered>, Failure> {
        answered(&self.connection, key)
    }

    fn read_rows<T: DeserializeOwned>(&self, sql: &str, bounds: (i64, i64), what: &str) -> Result<Vec<T>, Failure> {
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map(bounds, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
        rows.map(|row| row.map_err(Failure::Sql).and_then(|(id, text)| parse(&text, what, id))).collect()
    }
}

/// SQLite's numbers are signed; what is too large for them is larger than all that is there.
fn number(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// A number that this store wrote.
fn unsigned(value: i64) -> Result<u64, Failure> {
    u64::try_from(value).map_err(|_| Failure::Damaged(format!("it has a revision numbered {value}")))
}

fn parse<T: DeserializeOwned>(text: &str, what: &str, id: i64) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::Damaged(format!("{what} {id} cannot be read: {error}")))
}

fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("what is stored has text keys only")
}

fn head(connection: &Connection) -> Result<Option<RevisionId>, Failure> {
    let newest: Option<i64> = connection.query_row("SELECT max(id) FROM revisions", (), |row| row.get(0))?;
    newest.map(|id| unsigned(id).map(RevisionId)).transpose()
}

fn get(connection: &Connection, id: RevisionId) -> Result<Option<Revision>, Failure> {
    let id = number(id.0);
    let sql = "SELECT content FROM revisions WHERE id = ?1";
    let found: Option<String> = connection.query_row(sql, [id], |row| row.get(0)).optional()?;
    found.map(|content| parse(&content, "revision", id)).transpose()
}

fn audit_head(connection: &Connection) -> Result<Head, Failure> {
    let sql = "SELECT sequence, entry FROM audit ORDER BY sequence DESC LIMIT 1";
    let last: Option<(i64, String)> = connection.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let last = last.map(|(sequence, entry)| parse::<Entry>(&entry, "audit entry", sequence)).transpose()?;
    Ok(last.map_or(Head::EMPTY, |entry| entry.head()))
}

fn answered(connection: &Connection, key: &str) -> Result<Option<Answered>, Failure> {
    let sql = "SELECT request, revision FROM answers WHERE key = ?1";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
    let Some((request, revision)) = connection.query_row(sql, [key], row).optional()? else { return Ok(None) };
    let request =
        Digest::try_from(request).map_err(|error| Failure::Damaged(format!("a request's digest: {error}")))?;
    Ok(Some(Answered { request, revision: RevisionId(unsigned(revision)?) }))
}

/// Why the change is not made, if it is not. A repetition is told first: its own success has moved the head.
fn refuse(
    transaction: &Transaction<'_>,
    expected: Option<RevisionId>,
    change: &Change,
) -> Result<Option<CommitError>, Failure> {
    let oldest = change.event.at.millis().saturating_sub(u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX));
    transaction.execute("DELETE FROM answers WHERE at < ?1", [number(oldest)])?;
    if let Some(once) = &change.once
        && let Some(answered) = answered(transaction, &once.key)?
    {
        return Ok(Some(CommitError::Answered(answered)));
    }
    let head = head(transaction)?;
    Ok((head != expected).then_some(CommitError::Conflict(head)))
}

fn put_document(transaction: &Transaction<'_>, change: &Change) -> Result<(), Failure> {
    let key = change.revision.document.to_string();
    if let Some(Document { source, json }) = &change.document {
        let sql = "INSERT INTO documents (key, source, json) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        transaction.execute(sql, (&key, source, json))?;
        return Ok(());
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM documents WHERE key = ?1)";
    let is_there: bool = transaction.query_row(sql, [&key], |row| row.get(0))?;
    if is_there { Ok(()) } else { Err(change.lacks_document().into()) }
}

fn put_revision(transaction: &Transaction<'_>, revision: &Revision) -> Result<(), Failure> {
    let sql = "INSERT INTO revisions (id, document, content) VALUES (?1, ?2, ?3)";
    transaction.execute(sql, (number(revision.id.0), revision.document.to_string(), text(revision)))?;
    Ok(())
}

fn put_answer(transaction: &Transaction<'_>, once: &Once, revision: RevisionId, at: Timestamp) -> Result<(), Failure> {
    let sql = "INSERT INTO answers (key, request, revision, at) VALUES (?1, ?2, ?3, ?4)";
    let row = (&once.key, once.request.to_string(), number(revision.0), number(at.millis()));
    transaction.execute(sql, row)?;
    Ok(())
}

fn seal(transaction: &Transaction<'_>, event: Event) -> Result<Entry, Failure> {
    let entry = audit_head(transaction)?.seal(event);
    let sql = "INSERT INTO audit (sequence, entry) VALUES (?1, ?2)";
    transaction.execute(sql, (number(entry.sequence), text(&entry)))?;
    Ok(entry)
}
