//! Limits on what may be going on towards a cluster at once (`envoy.config.cluster.v3.CircuitBreakers`).

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;

use crate::config::context::wrapped_or;
use crate::config::route::RoutingPriority;
use crate::config::{Context, FieldPath};

/// Default of `retry_budget.budget_percent`.
const DEFAULT_BUDGET_PERCENT: f64 = 20.0;
/// Default of `retry_budget.min_retry_concurrency`.
const DEFAULT_MIN_RETRY_CONCURRENCY: u32 = 3;

/// Limits for each priority.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CircuitBreakers {
    /// For requests of default priority.
    pub default: Thresholds,
    /// For requests of high priority.
    pub high: Thresholds,
    /// Most connections to one host; none is no limit.
    pub per_host_max_connections: Option<u32>,
}

impl CircuitBreakers {
    /// The limits for `priority`.
    pub fn get(&self, priority: RoutingPriority) -> &Thresholds {
        match priority {
            RoutingPriority::Default => &self.default,
            RoutingPriority::High => &self.high,
        }
    }
}

/// Limits that hold for the process.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    /// Connections. Default 1024.
    pub max_connections: u32,
    /// Requests waiting for a connection. Default 1024.
    pub max_pending_requests: u32,
    /// Requests. Default 1024.
    pub max_requests: u32,
    /// Retries. Default 3.
    pub max_retries: u32,
    /// Replaces `max_retries`.
    pub retry_budget: Option<RetryBudget>,
    /// Also keep `remaining_...` gauges.
    pub track_remaining: bool,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
            retry_budget: None,
            track_remaining: false,
        }
    }
}

/// Retries as a share of active requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// Per cent of active and pending requests. Default 20.
    pub budget_percent: f64,
    /// Retries that are always allowed. Default 3.
    pub min_retry_concurrency: u32,
    /// Time over which requests are counted; zero counts the active ones.
    pub budget_interval: Duration,
}

impl CircuitBreakers {
    /// Converts the limits. The first entry for a priority counts.
    pub(super) fn from_proto(
        proto: &cluster::CircuitBreakers,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> CircuitBreakers {
        let mut of = |priority: core::RoutingPriority| {
            let entries = proto.thresholds.iter().enumerate();
            let mut of_priority = entries.filter(|(_, entry)| entry.priority == priority as i32);
            of_priority.next().map_or_else(Thresholds::default, |(i, entry)| {
                Thresholds::from_proto(entry, &path.element("thresholds", i), context)
            })
        };
        let (default, high) = (of(core::RoutingPriority::Default), of(core::RoutingPriority::High));
        let mut per_host_max_connections = None;
        for (i, entry) in proto.per_host_thresholds.iter().enumerate() {
            let others_unset = entry.max_pending_requests.is_none()
                && entry.max_requests.is_none()
                && entry.max_retries.is_none()
                && entry.max_connection_pools.is_none()
                && entry.retry_budget.is_none();
            if !others_unset {
                let path = path.element("per_host_thresholds", i);
                context.error(&path, "only max_connections can be limited for each host");
            }
            if entry.priority == core::RoutingPriority::Default as i32 {
                per_host_max_connections = entry.max_connections.as_ref().map(|limit| limit.value);
            }
        }
        CircuitBreakers { default, high, per_host_max_connections }
    }
}

impl Thresholds {
    fn from_proto(
        proto: &cluster::circuit_breakers::Thresholds,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Thresholds {
        let default = Thresholds::default();
        let path = path.field("retry_budget").field("budget_interval");
        Thresholds {
            max_connections: wrapped_or!(proto.max_connections, default.max_connections),
            max_pending_requests: wrapped_or!(proto.max_pending_requests, default.max_pending_requests),
            max_requests: wrapped_or!(proto.max_requests, default.max_requests),
            max_retries: wrapped_or!(proto.max_retries, default.max_retries),
            retry_budget: proto.retry_budget.as_ref().map(|budget| RetryBudget {
                budget_percent: wrapped_or!(budget.budget_percent, DEFAULT_BUDGET_PERCENT),
                min_retry_concurrency: wrapped_or!(
                    budget.min_retry_concurrency,
                    DEFAULT_MIN_RETRY_CONCURRENCY
                ),
                budget_interval: context.duration_or(&budget.budget_interval, Duration::ZERO, &path),
            }),
            track_remaining: proto.track_remaining,
        }
    }
}
