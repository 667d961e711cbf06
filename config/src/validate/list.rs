//! A list of endpoints in a file of its own, as a source of the document names it.

use std::collections::HashSet;

use crate::limit;
use crate::problem::{Code, Path, Position, Problem, Problems};
use crate::schema::endpoint::{FileEndpoint, WeightedEndpoint};
use crate::suggestion::Suggestions;
use crate::tree::{self, Dollars, Environment};
use crate::validated::Endpoint;
use crate::value::Weight;

/// Proves a list of endpoints, YAML or JSON: `"IP:PORT"` or `{ address, weight, zone }`. It may be empty; what that means is
/// its reader's to say. `${NAME}` is not filled in.
///
/// # Errors
/// All problems, with the line and column of each.
pub fn endpoint_list(text: &str) -> Result<Vec<Endpoint>, Problems> {
    let mut problems = Problems::default();
    let root = tree::read(text, &Environment::empty(), &mut problems).map_err(|fatal| Problems::from(*fatal))?;
    crate::structure::compare(&root, crate::shape::list(), &mut problems, &mut Suggestions::new());
    if !problems.is_empty() {
        return Err(problems.sorted());
    }
    let list: Vec<FileEndpoint> = serde_json::from_str(&tree::to_json(&root, Dollars::Bare)).map_err(|error| {
        // The schema and the types are one, so this is a defect of ours; it is still an answer, not a panic.
        Problems::from(Problem::of_file(Code::WrongType, format!("the list cannot be decoded: {error}")))
    })?;
    let list: Vec<WeightedEndpoint> = list.into_iter().map(WeightedEndpoint::from).collect();
    let place = |at: usize| root.locate(Path::default().item(at));
    refuse(&list, place, &mut problems);
    if !problems.is_empty() {
        return Err(problems.sorted());
    }
    let endpoint = |one: WeightedEndpoint| Endpoint { address: one.address.0, weight: one.weight, zone: one.zone };
    Ok(list.into_iter().map(endpoint).collect())
}

fn refuse(list: &[WeightedEndpoint], place: impl Fn(usize) -> (Path, Position), problems: &mut Problems) {
    if list.len() > limit::DISCOVERED {
        let message = format!("there are {} endpoints; {} are the most", list.len(), limit::DISCOVERED);
        problems.push(Problem::of_file(Code::OverLimit, message));
    }
    let mut seen = HashSet::new();
    for (at, one) in list.iter().enumerate().filter(|(_, one)| !seen.insert(one.address)) {
        let (path, position) = place(at);
        let message = format!("the endpoint {} is already in the list", one.address.0);
        let hint = "remove it; a larger share is a larger weight";
        problems.push(Problem::new(Code::DuplicateEndpoint, path, position, message).hint(hint));
    }
    if !list.is_empty() && list.iter().all(|one| one.weight == Weight::ZERO) {
        let problem = Problem::of_file(Code::AllWeightsZero, "the weights of all endpoints are 0");
        problems.push(problem.hint("give at least one endpoint a weight above 0"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        endpoint_list(text).unwrap_err().to_string()
    }

    #[test]
    fn a_list_is_read_in_both_forms() {
        let yaml = "- 10.0.0.1:80\n- { address: \"10.0.0.2:80\", weight: 3, zone: a }\n";
        let list = endpoint_list(yaml).unwrap();
        let told: Vec<_> =
            list.iter().map(|one| (one.address.to_string(), one.weight.get(), one.zone.clone())).collect();
        let zone = Some("a".parse().unwrap());
        assert_eq!(told, [("10.0.0.1:80".to_owned(), 1, None), ("10.0.0.2:80".to_owned(), 3, zone)]);
        assert_eq!(endpoint_list(r#"["10.0.0.1:80"]"#).unwrap().len(), 1);
        assert!(endpoint_list("[]").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        assert!(told("").contains("empty"), "{}", told(""));
        assert!(told("- 10.0.0.1:80\n- 10.0.0.1\n").starts_with("2:3: "), "{}", told("- 10.0.0.1:80\n- 10.0.0.1\n"));
        assert!(told("- 10.0.0.1:80\n- 10.0.0.1:80\n").starts_with("2:3: [1]: the endpoint 10.0.0.1:80 is already"));
        assert!(told("- { address: 10.0.0.1:80, weight: 0 }").contains("weights of all"));
        assert!(told("- { adress: 10.0.0.1:80 }").contains("did you mean `address`"));
        assert!(told("- { dns: shop, port: 80 }").contains("there is no field"));
        assert!(told("endpoints: []").contains("a list is needed"), "{}", told("endpoints: []"));
        assert!(told("- [").contains("not YAML"), "{}", told("- ["));
    }
}
