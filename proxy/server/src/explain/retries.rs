//! What a service does after an attempt that was not good enough, in words.

use sluice_config::validated::Retries;
use sluice_proxy_core::retry::Repeatable;

/// How often a request with this method is tried, and after what.
pub(super) fn words(policy: &Retries, method: &str) -> String {
    if policy.attempts == 1 {
        return "one attempt".to_owned();
    }
    let causes = policy.causes.iter().map(|cause| cause.as_str().to_owned());
    let statuses = policy.statuses.iter().map(|status| format!("status {status}"));
    let calls = policy.grpc_statuses.iter().map(|status| format!("gRPC {}", status.as_str()));
    let after = causes.chain(statuses).chain(calls).collect::<Vec<_>>().join(", ");
    let once = if Repeatable::of(method) == Repeatable::Never {
        let calls = if policy.grpc_statuses.is_empty() { "" } else { ", or after a gRPC status" };
        format!("; {method} only while nothing of it was sent{calls}")
    } else {
        String::new()
    };
    format!("up to {} attempts, after {after}{once}", policy.attempts)
}

#[cfg(test)]
mod tests {
    use sluice_config::validated::GrpcStatus;

    use super::*;

    #[test]
    fn the_words_say_how_often_and_after_what() {
        let policy = Retries { statuses: vec![503], grpc_statuses: vec![GrpcStatus::Internal], ..Retries::default() };
        let after = "up to 3 attempts, after connect_failure, reset, status 503, gRPC internal";
        assert_eq!(words(&policy, "GET"), after);
        assert!(words(&policy, "POST").starts_with(&format!("{after}; POST only while")));
        assert_eq!(words(&Retries { attempts: 1, ..policy }, "GET"), "one attempt");
    }
}
