//! The eye on a file that lists endpoints.
//!
//! As with the document's own file, its state is asked for several times a second instead of waiting for the kernel's notes,
//! which do not cross NFS, follow no symbolic link to its end, and name the wrong file after a rename. It is read whole now
//! and then even if nothing shows that it was written.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sluice_config::problem::Code;
use sluice_config::{Problems, decode, endpoint_list, limit};
use sluice_proxy_core::discovery::{Absence, Answer, Failure, Found};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Post;
use crate::tls::Stamps;

/// Between two looks at the file's state.
const TICK: Duration = Duration::from_millis(250);

/// Between two readings of a file that seems unchanged.
const FULL_READING: Duration = Duration::from_secs(5);

/// What is told of the problems of one file.
const TOLD: usize = 3;

pub(super) async fn watch(path: PathBuf, post: Post) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen: Option<(Stamps, Instant)> = None;
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let known = seen.as_ref().filter(|(_, read)| now - *read < FULL_READING).map(|(stamps, _)| stamps.clone());
        let path = path.clone();
        // A network file system may keep it waiting for ever; nobody else waits for it.
        let looked = tokio::task::spawn_blocking(move || look(&path, known.as_ref())).await;
        if let Ok(Some((stamps, answer))) = looked {
            seen = Some((stamps, now));
            // A file has no TTL: it is looked at all the time.
            let _ = post.take(vec![(String::new(), answer)]);
        }
    }
}

/// What the file says, unless it stands as it is known to.
fn look(path: &Path, known: Option<&Stamps>) -> Option<(Stamps, Answer)> {
    // Before it is read: what is written meanwhile is seen by the next look.
    let stamps = Stamps::of([path]);
    (known != Some(&stamps)).then(|| (stamps, read(path)))
}

fn read(path: &Path) -> Answer {
    let mut bytes = Vec::new();
    let most = limit::BYTES as u64;
    // Opening a pipe would wait for its writer.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Answer::Failed(Failure::Unreadable("it is no regular file".to_owned()));
    }
    let whole = File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    if let Err(error) = whole {
        return Answer::Failed(Failure::Unreadable(error.to_string()));
    }
    if bytes.len() as u64 > most {
        return Answer::Failed(Failure::Unsound(format!("it has more than {most} bytes")));
    }
    match decode(&bytes).and_then(endpoint_list) {
        Ok(list) if list.is_empty() => Answer::Nothing(Absence::List),
        Ok(list) => {
            let found = |one: sluice_config::validated::Endpoint| Found {
                address: one.address,
                weight: Some(one.weight),
                zone: one.zone,
            };
            Answer::Found(list.into_iter().map(found).collect(), FULL_READING)
        }
        // An empty file: a document would have to have more.
        Err(problems) if problems.problems.iter().all(|problem| problem.code == Code::EmptyDocument) => {
            Answer::Nothing(Absence::List)
        }
        Err(problems) => Answer::Failed(Failure::Unsound(told(&problems))),
    }
}

fn told(problems: &Problems) -> String {
    let mut told: Vec<String> = problems.problems.iter().take(TOLD).map(ToString::to_string).collect();
    let more = problems.count().saturating_sub(told.len());
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    told.join("; ")
}
