//! Policies and what they decide.

use std::sync::Arc;

use envoy_types::pb::envoy::config::rbac::v3 as proto;

use super::{Rule, Subject};
use crate::config::{Context, FieldPath};

/// Compiled policies with what follows when one of them matches. Shared by all workers.
#[derive(Debug)]
pub struct Engine {
    action: Action,
    /// By name: the first one that matches counts.
    policies: Vec<Policy>,
    /// What logs tell of a subject that is denied because no policy matches.
    no_policy_details: Arc<str>,
}

/// What follows when a policy matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// Allowed; denied if none matches.
    Allow,
    /// Denied; allowed if none matches.
    Deny,
    /// Always allowed.
    Log,
}

/// Matches if one of its permissions and one of its principals do.
#[derive(Debug)]
struct Policy {
    permissions: Vec<Rule>,
    principals: Vec<Rule>,
    /// What logs tell of a subject that is denied because of it.
    details: Arc<str>,
}

/// What an engine decides.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'a> {
    /// Whether the subject may go on.
    pub is_allowed: bool,
    /// The policy that matched, for logs: `rbac_access_denied_matched_policy[name]`, `none` if none matched.
    pub details: &'a Arc<str>,
}

impl Engine {
    /// Compiles the message at `path`. Records errors in `context`.
    pub fn from_proto(proto: &proto::Rbac, path: &FieldPath, context: &mut Context<'_>) -> Engine {
        let action = match context.enum_value(proto.action, &path.field("action")) {
            proto::rbac::Action::Allow => Action::Allow,
            proto::rbac::Action::Deny => Action::Deny,
            proto::rbac::Action::Log => Action::Log,
        };
        let mut policies: Vec<_> = proto.policies.iter().collect();
        policies.sort_by_key(|(name, _)| name.as_str());
        let policies = policies
            .into_iter()
            .map(|(name, policy)| Policy::from_proto(name, policy, &path.entry("policies", name), context))
            .collect();
        Engine { action, policies, no_policy_details: details("none") }
    }

    /// What is to become of `subject`.
    pub fn decide(&self, subject: &Subject<'_>) -> Decision<'_> {
        let matched = self.policies.iter().find(|policy| policy.matches(subject));
        let is_allowed = match self.action {
            Action::Allow => matched.is_some(),
            Action::Deny => matched.is_none(),
            Action::Log => true,
        };
        Decision { is_allowed, details: matched.map_or(&self.no_policy_details, |policy| &policy.details) }
    }
}

impl Policy {
    fn from_proto(name: &str, proto: &proto::Policy, path: &FieldPath, context: &mut Context<'_>) -> Policy {
        Policy {
            permissions: Rule::permissions(&proto.permissions, path, "permissions", context),
            principals: Rule::principals(&proto.principals, path, "principals", context),
            details: details(name),
        }
    }

    fn matches(&self, subject: &Subject<'_>) -> bool {
        let any = |rules: &[Rule]| rules.iter().any(|rule| rule.matches(subject));
        any(&self.permissions) && any(&self.principals)
    }
}

/// White space in names would break logs whose fields are separated by it.
fn details(name: &str) -> Arc<str> {
    let name = name.replace(|c: char| c.is_ascii_whitespace() || c == '\x0b', "_");
    format!("rbac_access_denied_matched_policy[{name}]").into()
}

#[cfg(test)]
mod tests;
