//! One test for each sentence of "Who owns what" that is decided here, named after it.

use super::*;

#[test]
fn rollback_restores_the_document_and_parks_the_digest_of_the_file_until_its_content_changes() {
    let (first, second) = (shop(&[("v1", 100)]), shop(&[("v1", 100), ("v2", 0)]));
    let one = begin(&first);
    let two = commit(Some(&one), applied(&one, &second).unwrap(), START);
    let back = roll_back(&two, &one.revision, &one.document, false, Some(second.text), START).unwrap();
    assert_eq!((back.kind, back.restores), (Kind::Document, Some(RevisionId(1))));
    let back = commit(Some(&two), back, START);
    assert_eq!((back.revision.digest, back.revision.id), (one.revision.digest, RevisionId(3)));
    let shifted = shifted(&back, &[("v1", "100%")], None, START);
    assert_eq!(shifted.revision.parked, Some(second.text), "every other change carries it on");
    let third = shop(&[("v1", 100), ("v3", 0)]);
    assert_eq!(applied(&shifted, &third).unwrap().parked, None, "another text ends it");
    assert_eq!(applied(&shifted, &first).unwrap().parked, None, "also one that means what runs");
    let plain = commit(Some(&back), applied(&back, &first).unwrap(), START);
    assert_eq!(applied(&plain, &first).unwrap_err().code(), "unchanged");
}

#[test]
fn a_services_weights_have_one_owner_document_or_operator() {
    let head = begin(&shop(&[("v1", 95), ("v2", 5)]));
    let owner = |head: &Head| head.revision.overlay.weights.get(&name("shop")).map(|weights| weights.owner.to_string());
    assert_eq!(owner(&head), None, "the document's");
    let theirs = shifted(&head, &[("v2", "25%")], None, START);
    assert_eq!(owner(&theirs).as_deref(), Some("operator"));
    let given = commit(Some(&theirs), release(&theirs, &name("shop")).unwrap(), START);
    assert_eq!((owner(&given), live(&given).as_str()), (None, "v1=95% v2=5%"));
    assert_eq!(release(&given, &name("shop")).unwrap_err().code(), "unchanged");
}

#[test]
fn weights_whose_text_did_not_change_are_no_intent_and_the_live_ones_stay() {
    let head = shifted(&begin(&shop(&[("v1", 95), ("v2", 5)])), &[("v2", "25%")], None, START);
    let next = applied(&head, &shop(&[("v1", 95), ("v2", 5), ("v3", 0)])).unwrap();
    assert_eq!(live(&commit(Some(&head), next, START)), "v1=75% v2=25%");
    let document = begin(&shop(&[("v1", 95), ("v2", 5)]));
    let next = applied(&document, &shop(&[("v1", 50), ("v2", 50)])).unwrap();
    assert_eq!(live(&commit(Some(&document), next, START)), "v1=50% v2=50%", "its own it may change");
}

#[test]
fn a_changed_weight_under_another_owner_is_refused_naming_owner_and_reason() {
    let head = shifted(&begin(&shop(&[("v1", 95), ("v2", 5)])), &[("v2", "25%")], None, START);
    let refusal = applied(&head, &shop(&[("v1", 50), ("v2", 50)])).unwrap_err();
    let Refusal::Owned(owned) = &refusal else { panic!("{refusal:?}") };
    assert_eq!((owned[0].owner.to_string().as_str(), owned[0].reason.as_str()), ("operator", "try v2"));
    assert_eq!(owned[0].changes, ["v1 95 -> 50", "v2 5 -> 50"]);
}

#[test]
fn a_changed_weight_under_another_owner_is_applied_with_take_weights() {
    let head = shifted(&begin(&shop(&[("v1", 95), ("v2", 5)])), &[("v2", "25%")], None, START);
    let taken = apply(Some(&head), &shop(&[("v1", 50), ("v2", 50)]), true, &Environment::empty()).unwrap();
    let taken = commit(Some(&head), taken, START);
    assert_eq!(live(&taken), "v1=50% v2=50%");
    assert!(taken.revision.overlay.weights.is_empty(), "the document owns them");
}

#[test]
fn a_shift_takes_ownership_and_does_not_expire() {
    let head = shifted(&begin(&shop(&[("v1", 95), ("v2", 5)])), &[("v2", "5%")], None, START);
    assert_eq!(head.revision.overlay.weights[&name("shop")].owner.to_string(), "operator");
    assert!(expire(&head, Timestamp::from_millis(u64::MAX)).is_none());
}

#[test]
fn a_shift_for_two_hours_returns_to_the_weights_before_it() {
    let first = begin(&shop(&[("v1", 95), ("v2", 5)]));
    for (head, before) in
        [(first.clone(), "v1=95% v2=5%"), (shifted(&first, &[("v2", "10%")], None, START), "v1=90% v2=10%")]
    {
        let shifted = shifted(&head, &[("v2", "50%")], Some(2 * HOUR), START);
        let end = START.after(2 * HOUR);
        assert!(expire(&shifted, Timestamp::from_millis(end.millis() - 1)).is_none());
        let after = expired(&shifted, end);
        assert_eq!(live(&after), before);
        assert_eq!(after.revision.overlay, head.revision.overlay, "with their owner");
    }
}

#[test]
fn overrides_must_expire() {
    let head = begin(&shop(&[("v1", 95), ("v2", 5)]));
    let frozen = commit(Some(&head), lay(&head, &Wish::Freeze, HOUR, &author(), &why(), START).unwrap(), START);
    let id = frozen.revision.id;
    assert_eq!(frozen.revision.overlay.overrides.keys().collect::<Vec<_>>(), [&id], "by the revision that laid it");
    assert!(expire(&frozen, START).is_none());
    let (proposal, reason) = expire(&frozen, START.after(HOUR)).unwrap();
    assert_eq!((proposal.kind, proposal.overlay.is_empty()), (Kind::Override, true));
    assert_eq!(reason.as_str(), "overrides expired: freeze of revision 2 by ann");
    assert!(lift(&frozen, id).unwrap().overlay.is_empty(), "or be lifted before");
}

#[test]
fn removing_a_version_that_a_live_weight_names_is_refused_and_the_problem_lists_it() {
    let head = shifted(&begin(&shop(&[("v1", 95), ("v2", 5), ("v3", 0)])), &[("v3", "25%")], None, START);
    let without = text(&[("shop", &[("v1", 95)])]);
    let refusal = applied(&head, &written(&without)).unwrap_err();
    let Refusal::Problems(problems) = &refusal else { panic!("{refusal:?}") };
    let lines: Vec<String> = problems.problems.iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 2, "all of them: {lines:?}");
    assert!(lines[0].starts_with("3:29: services[0].versions: the version \"v2\" of shop is gone"), "{}", lines[0]);
    let gone = applied(&head, &written(&text(&[("cart", &[("v1", 95)])]))).unwrap_err();
    assert!(gone.to_string().contains("the service \"shop\" is gone"), "{gone}");
}

#[test]
fn rollback_n_restores_ns_document_and_with_weights_its_weights_too() {
    let head = begin(&shop(&[("v1", 95), ("v2", 5)]));
    let two = shifted(&head, &[("v2", "10%")], None, START);
    let three = commit(Some(&two), applied(&two, &shop(&[("v1", 95), ("v2", 5), ("v3", 0)])).unwrap(), START);
    let four = shifted(&three, &[("v2", "30%")], None, START);
    let back = |weights| roll_back(&four, &two.revision, &two.document, weights, None, START);
    assert_eq!(live(&commit(Some(&four), back(false).unwrap(), START)), "v1=70% v2=30%");
    assert_eq!(live(&commit(Some(&four), back(true).unwrap(), START)), "v1=90% v2=10%");
    let five = shifted(&four, &[("v3", "30%")], None, START);
    let unfit = roll_back(&five, &two.revision, &two.document, false, None, START).unwrap_err();
    assert_eq!(unfit.code(), "unfit");
    assert!(unfit.hint().contains("--weights") && unfit.to_string().contains("no version v3 of shop"), "{unfit}");
    assert!(roll_back(&five, &two.revision, &two.document, true, None, START).is_ok());
    let same = roll_back(&five, &five.revision, &five.document, true, None, START);
    assert_eq!(same, Err(Refusal::Unchanged(Unchanged::Restored(RevisionId(5)))));
}

#[test]
fn a_rollback_with_weights_restores_none_that_have_ended_and_no_override() {
    let head = begin(&shop(&[("v1", 95), ("v2", 5)]));
    let two = shifted(&head, &[("v2", "10%")], Some(HOUR), START);
    let three = commit(Some(&two), lay(&two, &Wish::Freeze, HOUR, &author(), &why(), START).unwrap(), START);
    let later = START.after(HOUR);
    let four = shifted(&expired(&three, later), &[("v2", "30%")], None, later);
    let back = roll_back(&four, &three.revision, &three.document, true, None, later).unwrap();
    assert!(back.overlay.is_empty(), "{:?}", back.overlay);
    let kept = commit(Some(&four), lay(&four, &Wish::Freeze, HOUR, &author(), &why(), later).unwrap(), later);
    let back = roll_back(&kept, &head.revision, &head.document, true, None, later).unwrap();
    assert_eq!(back.overlay.overrides, kept.revision.overlay.overrides, "nor is one removed");
}
