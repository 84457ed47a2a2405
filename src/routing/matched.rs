//! A matched route, and what its levels (weighted cluster, route, virtual host, table) together do to heads.

use super::RouteTable;
use super::cluster_choice::{ClusterChoice, WeightedEntry};
use super::entry::{Action, ForwardAction, RouteEntry, VirtualHostEntry};
use super::level::Level;
use super::per_filter::{FilterConfig, FilterSlot, PerFilterEntry};
use super::redirect::write_own_location;
use super::rewrite::replace_authority;
use crate::formatter::FormatContext;
use crate::http::{RequestHead, ResponseHead, header};

/// Names a route within one table: small, free to copy and to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteId {
    pub(super) virtual_host: u32,
    pub(super) route: u32,
    pub(super) weighted: Option<u32>,
}

/// A route that takes a request.
#[derive(Debug, Clone, Copy)]
pub struct MatchedRoute<'a> {
    /// To find it again in the same table.
    pub id: RouteId,
    /// The table.
    pub table: &'a RouteTable,
    /// The virtual host.
    pub virtual_host: &'a VirtualHostEntry,
    /// The route.
    pub route: &'a RouteEntry,
    /// The cluster that chance picked, if the route has several.
    pub weighted: Option<&'a WeightedEntry>,
}

impl<'a> MatchedRoute<'a> {
    /// How the request is forwarded, if it is.
    pub fn forward(&self) -> Option<&'a ForwardAction> {
        match &self.route.action {
            Action::Forward(action) => Some(action),
            _ => None,
        }
    }

    /// The cluster that the request goes to; none if it is not forwarded or the header that names it is absent.
    pub fn cluster_name<'r>(&self, head: &'r RequestHead) -> Option<&'r str>
    where
        'a: 'r,
    {
        match (&self.forward()?.cluster, self.weighted) {
            (_, Some(entry)) => entry.cluster.resolve(&head.headers),
            (ClusterChoice::Fixed(name), None) => Some(name),
            (ClusterChoice::Header(name), None) => head.headers.get_str(name).filter(|name| !name.is_empty()),
            (ClusterChoice::Weighted(_), None) => None,
        }
    }

    /// Makes a request what upstream is to see: header changes of all levels, then authority, then path. An
    /// `auto_host_rewrite` waits for the endpoint ([`replace_authority`]).
    pub fn finalize_request(&self, head: &mut RequestHead, cx: &FormatContext<'_>) {
        for changes in self.levels().filter_map(Level::request_headers) {
            changes.apply_request(head, cx);
        }
        let Some(action) = self.forward() else { return };
        let append = action.config.append_x_forwarded_host;
        match self.weighted.and_then(|entry| entry.host_rewrite_literal.as_ref()) {
            Some(host) => {
                // Envoy keeps no trace of the old authority here.
                if append {
                    replace_authority(head, host.as_bytes(), append);
                    head.headers.remove(header::X_ENVOY_ORIGINAL_HOST);
                } else {
                    head.set_authority(host.as_bytes());
                }
            }
            None => {
                if let Some(change) = &action.host_change {
                    change.apply(head, append);
                }
            }
        }
        if let Some(change) = &action.path_change {
            change.apply(head);
        }
    }

    /// Makes a response what the client is to see: header changes of all levels.
    pub fn finalize_response(&self, head: &mut ResponseHead, cx: &FormatContext<'_>) {
        for changes in self.levels().filter_map(Level::response_headers) {
            changes.apply_response(head, cx);
        }
    }

    /// Adds the `location` that a redirect has, and a fixed response with 201 or 3xx. `scratch` is used for it.
    pub fn add_location(&self, request: &RequestHead, response: &mut ResponseHead, scratch: &mut Vec<u8>) {
        scratch.clear();
        match &self.route.action {
            Action::Redirect(redirect) => redirect.write_location(request, scratch),
            Action::DirectResponse(reply) if reply.status == 201 || (300..400).contains(&reply.status) => {
                write_own_location(request, scratch);
            }
            _ => return,
        }
        response.headers.set(header::LOCATION, scratch);
    }

    /// What the most specific level that mentions a filter says about it.
    pub fn per_filter(&self, slot: FilterSlot) -> Option<&'a PerFilterEntry> {
        self.per_filter_levels(slot).into_iter().flatten().next_back()
    }

    /// The most specific configuration for a filter.
    pub fn filter_config(&self, slot: FilterSlot) -> Option<&'a FilterConfig> {
        self.per_filter_levels(slot)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.config.as_ref())
            .next_back()
    }

    /// Whether the most specific level with an opinion turns a filter off or on.
    pub fn filter_disabled(&self, slot: FilterSlot) -> Option<bool> {
        self.per_filter_levels(slot).into_iter().flatten().filter_map(|entry| entry.disabled).next_back()
    }

    /// What each level says about a filter: table, virtual host, route, weighted cluster.
    pub fn per_filter_levels(&self, slot: FilterSlot) -> [Option<&'a PerFilterEntry>; 4] {
        [
            self.table.level.filter(slot),
            self.virtual_host.level.filter(slot),
            self.route.level.filter(slot),
            self.weighted.and_then(|entry| entry.level.filter(slot)),
        ]
    }

    /// Largest request body kept for retries; none takes the connection's buffer limit.
    pub fn request_body_buffer_limit_bytes(&self) -> Option<u64> {
        self.forward()?.config.request_body_buffer_limit_bytes
    }

    /// The levels in the order in which they are applied. Envoy always applies the weighted cluster's first.
    fn levels(&self) -> impl Iterator<Item = &'a Level> + use<'a> {
        let (table, virtual_host, route) = (&self.table.level, &self.virtual_host.level, &self.route.level);
        let rest = if self.table.most_specific_header_mutations_wins {
            [table, virtual_host, route]
        } else {
            [route, virtual_host, table]
        };
        self.weighted.map(|entry| &entry.level).into_iter().chain(rest)
    }
}
