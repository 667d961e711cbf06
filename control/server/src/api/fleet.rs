//! The proxies that follow this control plane.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde_json::json as schema;
use sluice_config::name::NodeName;
use sluice_control_core::access::Action;
use sluice_control_core::fleet::{NodeStanding, Reason};

use super::answer::told_at;
use super::caller::Caller;
use super::error::Refused;
use super::operation::{Content, Operation, json};
use super::request::Path;
use super::view::Nodes;
use crate::plane::Plane;

pub(super) fn operations() -> Vec<Operation> {
    let name = || schema!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"});
    vec![
        Operation::new((Method::GET, "/v1/nodes"), Action::Read, "listNodes", LIST, list).answers(json::<Nodes>()),
        Operation::new((Method::GET, "/v1/nodes/{node}"), Action::Read, "getNode", "One node.", get)
            .path("node", name(), "Its name.")
            .answers(json::<NodeStanding>())
            .refuses(&[StatusCode::NOT_FOUND]),
        Operation::new((Method::DELETE, "/v1/nodes/{node}"), Action::Forget, "forgetNode", FORGET, forget)
            .path("node", name(), "Its name.")
            .answers(Content::None)
            .refuses(&[StatusCode::NOT_FOUND, StatusCode::CONFLICT]),
    ]
}

const LIST: &str = "Every node: what it runs, what it shall run, why it does not, and since when.";
const FORGET: &str = "Forgets a node that is away. One that is connected cannot be forgotten.";

async fn list(State(plane): State<Arc<Plane>>) -> Response {
    let nodes = plane.distributor().standing();
    told_at(Nodes { wanted: plane.head(), nodes }, plane.head()).into_response()
}

async fn get(State(plane): State<Arc<Plane>>, Path(name): Path<NodeName>) -> Result<Response, Refused> {
    let standing = plane.distributor().standing().into_iter().find(|one| one.node == name);
    let standing = standing.ok_or_else(|| unknown(&name))?;
    Ok(told_at(standing, plane.head()).into_response())
}

async fn forget(
    State(plane): State<Arc<Plane>>,
    Path(name): Path<NodeName>,
    caller: Caller,
) -> Result<StatusCode, Refused> {
    match plane.distributor().forget(&name) {
        Ok(()) => {
            plane.record(&caller.who, "forget", name.as_str()).await?;
            Ok(StatusCode::NO_CONTENT)
        }
        Err(Reason::StillHere) => {
            let refused = Refused::new(StatusCode::CONFLICT, "connected", format!("the node {name} is connected"));
            Err(refused.hint("stop it first; it would only come back"))
        }
        Err(_) => Err(unknown(&name)),
    }
}

fn unknown(name: &NodeName) -> Refused {
    Refused::not_found(format!("there is no node {name}")).hint("GET /v1/nodes lists them")
}
