//! The two pages for people: the home page and statistics in a browser. No script, nothing loaded
//! from elsewhere.

use std::fmt::Write;

use crate::admin::query::Query;
use crate::admin::reply::Reply;
use crate::admin::routes::{COMMANDS, Call, Command};

const STYLE: &str = "body{font-family:sans-serif;margin:2em;color:#222}table{border-collapse:collapse}\
    td,th{text-align:left;padding:4px 12px 4px 4px;vertical-align:top}tr:nth-child(even){background:#eee}\
    form{margin:0}.parameters{font-size:small}pre{font-size:small}";

/// `/`: every command with its parameters, as a link or, if it changes something, a button.
pub(super) fn home(call: &Call<'_>) -> Reply {
    let state = call.state.server_state().name();
    let mut rows = String::new();
    for command in COMMANDS.iter().filter(|command| command.path != "/") {
        write_row(command, &mut rows);
    }
    let body = format!(
        "<h1>Ringway</h1><p>State: {state}</p>\
         <table><tr><th>Command</th><th>Description</th><th>Parameters</th></tr>{rows}</table>"
    );
    Reply::html(document("Ringway Admin", &body))
}

/// `/stats?format=html`: the text listing under a form to filter it.
pub(super) fn stats(text: &str, query: &Query) -> String {
    let filter = escaped(query.get("filter").unwrap_or_default());
    let used_only = if query.has("usedonly") { " checked" } else { "" };
    let body = format!(
        "<form action=\"stats\"><input type=\"hidden\" name=\"format\" value=\"html\">\
         Filter <input name=\"filter\" value=\"{filter}\"> \
         <label><input type=\"checkbox\" name=\"usedonly\"{used_only}> used only</label> \
         <button>Show</button> <a href=\".\">Home</a></form><pre>{}</pre>",
        escaped(text)
    );
    document("Ringway Stats", &body)
}

fn write_row(command: &Command, rows: &mut String) {
    // Relative, so that the page works behind a path prefix.
    let path = command.path.trim_start_matches('/');
    let method = if command.mutates { "post" } else { "get" };
    let _ = write!(rows, "<tr><td><form action=\"{path}\" method=\"{method}\" id=\"{path}\">");
    let _ = match command.mutates {
        true => write!(rows, "<button>{path}</button>"),
        false => write!(rows, "<a href=\"{path}\">{path}</a>"),
    };
    let _ = write!(rows, "</form></td><td>{}</td><td class=\"parameters\">", escaped(command.help));
    for parameter in command.parameters {
        let choices = if parameter.choices.is_empty() {
            String::new()
        } else {
            format!(" ({})", parameter.choices.join(", "))
        };
        let _ = write!(rows, "<b>{}</b>: {}{choices}<br>", parameter.name, escaped(parameter.help));
    }
    rows.push_str("</td></tr>");
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{STYLE}</style></head><body>{body}</body></html>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
