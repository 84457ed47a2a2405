//! Commands that change something, and the shortest answers.

use crate::admin::reply::Reply;
use crate::admin::routes::{Call, help_text};
use crate::admin::state::{DrainRequest, ServerState};

pub(super) fn help(_: &Call<'_>) -> Reply {
    Reply::text(help_text())
}

pub(super) fn ready(call: &Call<'_>) -> Reply {
    let state = call.state.server_state();
    let status = if state == ServerState::Live { 200 } else { 503 };
    Reply { status, ..Reply::text(format!("{}\n", state.name())) }
}

pub(super) fn hot_restart_version(call: &Call<'_>) -> Reply {
    Reply::text(call.state.server_info().hot_restart_version)
}

pub(super) fn healthcheck_fail(call: &Call<'_>) -> Reply {
    call.state.set_health_check_failed(true);
    Reply::ok()
}

pub(super) fn healthcheck_ok(call: &Call<'_>) -> Reply {
    call.state.set_health_check_failed(false);
    Reply::ok()
}

pub(super) fn drain_listeners(call: &Call<'_>) -> Reply {
    call.state.drain_listeners(DrainRequest {
        graceful: call.query.has("graceful"),
        inbound_only: call.query.has("inboundonly"),
        skip_exit: call.query.has("skip_exit"),
    });
    Reply::ok()
}

pub(super) fn reset_counters(call: &Call<'_>) -> Reply {
    call.registry.reset_counters();
    Reply::ok()
}

pub(super) fn reopen_logs(call: &Call<'_>) -> Reply {
    call.state.reopen_logs();
    Reply::ok()
}

pub(super) fn quit(call: &Call<'_>) -> Reply {
    call.state.quit();
    Reply::ok()
}

pub(super) fn runtime_modify(call: &Call<'_>) -> Reply {
    if call.query.pairs.is_empty() {
        return Reply::error(
            400,
            "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN\n\
             use an empty value to remove a previously added override\n",
        );
    }
    match call.state.modify_runtime(&call.query.pairs) {
        Ok(()) => Reply::ok(),
        Err(reason) => Reply::error(503, reason),
    }
}
