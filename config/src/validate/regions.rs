//! Whether requests can be placed at all.

use super::judge::{Judge, repeated, section};
use crate::name::RegionName;
use crate::problem::Code;
use crate::schema::region as written;
use crate::validated::{Capabilities, Capability, Region, Role};
use crate::value::Weight;

pub(super) fn resolve(judge: &mut Judge<'_>, regions: &[written::Region]) -> Vec<Region> {
    judge.unique_names(&section("regions"), "region", regions.iter().map(|region| region.name.as_str()));
    for (index, region) in regions.iter().enumerate() {
        check_capabilities(judge, index, region);
    }
    check_primaries(judge, regions);
    check_standbys(judge, regions);
    if regions.is_empty() {
        return vec![implied()];
    }
    let resolved: Vec<_> = regions.iter().map(resolve_one).collect();
    check_weights(judge, &resolved);
    resolved
}

/// The region of a document without regions.
fn implied() -> Region {
    let capabilities = Capabilities { read: true, write: true, admin: true };
    Region { name: RegionName::implied(), role: Role::Secondary, weight: Weight::HUNDRED, capabilities }
}

fn resolve_one(region: &written::Region) -> Region {
    let has = |capability| region.capabilities.contains(&capability);
    let default = if region.role == Role::Standby { Weight::ZERO } else { Weight::HUNDRED };
    Region {
        name: region.name.clone(),
        role: region.role,
        weight: region.weight.unwrap_or(default),
        capabilities: Capabilities {
            read: has(Capability::Read),
            write: has(Capability::Write),
            admin: has(Capability::Admin),
        },
    }
}

fn check_capabilities(judge: &mut Judge<'_>, index: usize, region: &written::Region) {
    let words = region.capabilities.iter().map(|capability| *capability as u8).enumerate();
    for (later, ..) in repeated(words) {
        let path = section("regions").item(index).field("capabilities").item(later);
        judge.report(
            Code::DuplicateValue,
            path,
            "the capability stands here twice",
            Some("remove one of them".to_owned()),
        );
    }
}

fn check_primaries(judge: &mut Judge<'_>, regions: &[written::Region]) {
    let list = section("regions");
    let is_primary = |index: &usize| regions[*index].role == Role::Primary && !judge.is_lost(&list, *index, "role");
    let primaries: Vec<usize> = (0..regions.len()).filter(is_primary).collect();
    let Some((first, others)) = primaries.split_first() else { return };
    for later in others {
        let other = judge.place(section("regions").item(*first));
        let message = format!("a second primary region; the first is {other}");
        let hint = "at most one region is primary: make the others `secondary`".to_owned();
        judge.report(Code::SeveralPrimaries, section("regions").item(*later).field("role"), message, Some(hint));
    }
}

fn check_standbys(judge: &mut Judge<'_>, regions: &[written::Region]) {
    for (index, region) in regions.iter().enumerate() {
        if judge.is_lost(&section("regions"), index, "role") || judge.is_lost(&section("regions"), index, "weight") {
            continue;
        }
        if region.role == Role::Standby && region.weight.is_some_and(|weight| weight > Weight::ZERO) {
            let hint = "leave the weight out, or make the region `secondary`".to_owned();
            let path = section("regions").item(index).field("weight");
            judge.report(Code::StandbyWeight, path, "a standby region has no share", Some(hint));
        }
    }
    let only_standby = !regions.is_empty() && regions.iter().all(|region| region.role == Role::Standby);
    if only_standby && !judge.gaps.is_lost(&section("regions")) {
        let hint = "make one of them `primary` or `secondary`".to_owned();
        judge.report(Code::OnlyStandby, section("regions"), "every region is a standby", Some(hint));
    }
}

fn check_weights(judge: &mut Judge<'_>, regions: &[Region]) {
    let mut active = regions.iter().filter(|region| region.role != Role::Standby).peekable();
    let all_zero = active.peek().is_some() && active.all(|region| region.weight == Weight::ZERO);
    let list = section("regions");
    let lost = |index| judge.is_lost(&list, index, "role") || judge.is_lost(&list, index, "weight");
    if all_zero && !judge.gaps.is_lost(&list) && !(0..regions.len()).any(lost) {
        let hint = "give at least one active region a weight above 0".to_owned();
        judge.report(Code::AllWeightsZero, section("regions"), "the weights of all active regions are 0", Some(hint));
    }
}
