//! A TLS context that uses discovered secrets: what is in force for it, and what another secret makes of it.

use std::cell::RefCell;
use std::sync::Arc;

use crate::config::Context;
use crate::config::tls::{CommonTlsContext, CompileError, DownstreamTlsContext, Secret, UpstreamTlsContext};
use crate::stats::Scope;
use crate::stats::groups::set_certificate_expiry;
use crate::tls::DefaultTimeProvider;
use crate::transport::DownstreamTls;
use crate::upstream::ClusterInfo;

/// The TLS context of a filter chain or of a cluster.
pub struct TlsUser {
    target: Target,
    /// As the secrets in force make it.
    context: RefCell<TlsContext>,
    /// Where its certificates' expiry is listed: `listener.a.ssl.`.
    stat_prefix: String,
    scope: Scope,
}

enum Target {
    Chain { tls: Arc<DownstreamTls>, server_names: Vec<String> },
    Cluster(Arc<ClusterInfo>),
}

/// A context with other secrets in it.
#[derive(Clone)]
pub enum TlsContext {
    /// Of a filter chain.
    Downstream(Box<DownstreamTlsContext>),
    /// Of a cluster.
    Upstream(Box<UpstreamTlsContext>),
}

impl TlsUser {
    /// A chain that is chosen by `server_names`; its statistics begin with the listener's prefix.
    pub fn of_chain(
        tls: &Arc<DownstreamTls>,
        context: &DownstreamTlsContext,
        server_names: &[String],
        (stat_prefix, scope): (&str, &Scope),
    ) -> TlsUser {
        TlsUser {
            target: Target::Chain { tls: Arc::clone(tls), server_names: server_names.to_vec() },
            context: RefCell::new(TlsContext::Downstream(Box::new(context.clone()))),
            stat_prefix: format!("{stat_prefix}ssl."),
            scope: scope.clone(),
        }
    }

    /// A cluster.
    pub fn of_cluster(info: &Arc<ClusterInfo>, context: &UpstreamTlsContext, scope: Scope) -> TlsUser {
        TlsUser {
            target: Target::Cluster(Arc::clone(info)),
            context: RefCell::new(TlsContext::Upstream(Box::new(context.clone()))),
            stat_prefix: format!("cluster.{}.ssl.", info.config.stat_name()),
            scope,
        }
    }

    /// Lends what it has in common with contexts of the other side.
    pub fn with_common<R>(&self, read: impl FnOnce(&CommonTlsContext) -> R) -> R {
        match &*self.context.borrow() {
            TlsContext::Downstream(context) => read(&context.common),
            TlsContext::Upstream(context) => read(&context.common),
        }
    }

    /// Whether both are the context of the same chain or cluster.
    pub fn is_same_as(&self, other: &TlsUser) -> bool {
        match (&self.target, &other.target) {
            (Target::Chain { tls, .. }, Target::Chain { tls: other, .. }) => Arc::ptr_eq(tls, other),
            (Target::Cluster(info), Target::Cluster(other)) => Arc::ptr_eq(info, other),
            _ => false,
        }
    }

    /// What the secrets of `file` make of the context. Errors go to `errors`; with one, it is not to be used.
    pub fn change(&self, file: &str, secrets: &[Secret], errors: &mut Context<'_>) -> TlsContext {
        let mut context = self.context.borrow().clone();
        let time = Arc::new(DefaultTimeProvider);
        let compiled = match (&mut context, &self.target) {
            (TlsContext::Downstream(context), Target::Chain { server_names, .. }) => {
                context.apply(file, secrets, errors);
                context.compile(server_names, time).map(drop)
            }
            (TlsContext::Upstream(context), _) => {
                context.apply(file, secrets, errors);
                context.compile(time).map(drop)
            }
            (TlsContext::Downstream(_), Target::Cluster(_)) => Ok(()),
        };
        // Other secrets of it may be missing yet.
        if let Err(CompileError::Invalid { path, error }) = compiled {
            errors.error(&path, error.to_string());
        }
        context
    }

    /// Has new connections begin with a changed context.
    pub fn put(&self, context: TlsContext) {
        let mut expiries = Vec::new();
        match (&context, &self.target) {
            (TlsContext::Downstream(context), Target::Chain { tls, server_names }) => {
                tls.replace(context, server_names);
                tls.count_update();
                expiries.extend(context.common.expiries());
            }
            (TlsContext::Upstream(context), Target::Cluster(info)) => {
                if let Some(tls) = &info.tls {
                    tls.replace(context);
                    tls.count_update();
                }
                expiries.extend(context.common.expiries());
            }
            _ => {}
        }
        for (name, expiry) in expiries {
            set_certificate_expiry(&self.scope, &self.stat_prefix, name, expiry);
        }
        self.context.replace(context);
    }
}
