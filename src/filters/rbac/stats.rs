//! Statistics of access control and their names.

use crate::stats::stats_group;

stats_group! {
    /// `<prefix>rbac.`: what enforced rules decided.
    pub struct RbacStats {
        counters: [
            allowed, denied,
        ],
    }
}

stats_group! {
    /// `<prefix>rbac.[<shadow prefix>.]`: what shadow rules would have decided.
    pub struct RbacShadowStats {
        counters: [
            shadow_allowed, shadow_denied,
        ],
    }
}

/// The prefixes of both groups, dots at their ends, from the configured ones: `a` and `a.` are the same.
pub fn stat_prefix(configured: &str, shadow: &str) -> (String, String) {
    let with_dot = |prefix: &str| match prefix.trim_end_matches('.') {
        "" => String::new(),
        prefix => format!("{prefix}."),
    };
    let own = format!("{}rbac.", with_dot(configured));
    let shadow = format!("{own}{}", with_dot(shadow));
    (own, shadow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_joined_by_one_dot() {
        let pair = |own: &str, shadow: &str| (own.to_owned(), shadow.to_owned());
        assert_eq!(stat_prefix("a", ""), pair("a.rbac.", "a.rbac."));
        assert_eq!(stat_prefix("a.", "b"), pair("a.rbac.", "a.rbac.b."));
        assert_eq!(stat_prefix("a", "b."), pair("a.rbac.", "a.rbac.b."));
    }
}
