use std::fs;

use sluice_config::{Environment, validate};
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

fn document(endpoints: &str) -> Arc<Validated> {
    let text = format!(
        "listeners: [{{ name: web, address: \"127.0.0.1:8080\" }}]\nservices: [{{ name: shop, endpoints: {endpoints} }}]\n\
         routes: [{{ service: shop }}]\n"
    );
    Arc::new(validate(&text, &Environment::empty()).unwrap())
}

fn addresses(document: &Validated) -> Vec<String> {
    document.services[0].versions[0].pools[0].endpoints.iter().map(|one| one.address.to_string()).collect()
}

fn finder(folder: &TempDir, own: &[&str]) -> Finder {
    Finder::new(own.iter().map(|one| one.parse().unwrap()).collect(), folder.path().to_owned())
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn a_file_is_followed_and_its_last_good_list_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.yaml");
    fs::write(&path, "- 10.0.0.1:80\n- 127.0.0.1:9901\n").unwrap();
    let written = document("[{ file: shop.yaml }]");
    let mut finder = finder(&folder, &["127.0.0.1:9901"]);
    assert!(finder.begin(&written).await, "there is something to wait for");
    finder.settle(&written);
    assert_eq!(addresses(&finder.fill(&written)), ["10.0.0.1:80"], "our own address is left out");
    assert_eq!(finder.board().health(), Some(Ok(())));
    for (content, words) in [("", "the list is empty"), ("- 10.0.0.1\n", "1:3: [0]: "), ("[]", "the list is empty")] {
        fs::write(&path, content).unwrap();
        let board = Arc::clone(finder.board());
        until(words, || matches!(board.health(), Some(Err(why)) if why.contains(words))).await;
        assert_eq!(addresses(&finder.fill(&written)), ["10.0.0.1:80"], "{content:?}");
    }
    finder.look();
    let next = folder.path().join("next.yaml");
    fs::write(&next, "- 10.0.0.2:80\n- 10.0.0.3:80\n").unwrap();
    fs::rename(&next, &path).unwrap();
    timeout(LONG, finder.changed()).await.expect("a change is told");
    assert_eq!(addresses(&finder.fill(&written)), ["10.0.0.2:80", "10.0.0.3:80"]);
    fs::remove_file(&path).unwrap();
    let board = Arc::clone(finder.board());
    until("no file", || matches!(board.health(), Some(Err(why)) if why.contains("cannot be read"))).await;
    assert_eq!(addresses(&finder.fill(&written)), ["10.0.0.2:80", "10.0.0.3:80"]);
}

#[tokio::test]
async fn what_the_document_does_not_name_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), "- 10.0.0.1:80\n").unwrap();
    let (with, without) = (document("[{ file: a.yaml }, \"10.0.0.9:80\"]"), document("[\"10.0.0.9:80\"]"));
    let mut finder = finder(&folder, &[]);
    finder.begin(&with).await;
    finder.settle(&with);
    assert!(!finder.begin(&with).await, "nothing is new");
    assert_eq!(addresses(&finder.fill(&with)), ["10.0.0.9:80", "10.0.0.1:80"]);
    finder.settle(&without);
    assert_eq!((finder.board().health(), finder.board().rows(9).len()), (None, 0));
    assert!(Arc::ptr_eq(&finder.fill(&without), &without));
}

#[tokio::test(start_paused = true)]
async fn a_start_does_not_wait_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let mut finder = finder(&folder, &[]);
    let begun = Instant::now();
    let written = document("[{ file: nowhere.yaml }]");
    assert!(finder.begin(&written).await);
    assert!(begun.elapsed() <= FIRST + Duration::from_millis(1), "{:?}", begun.elapsed());
    assert!(addresses(&finder.fill(&written)).is_empty());
}
