//! `/logging`: shows and changes the levels of the process log.

use std::fmt::Write;

use crate::admin::reply::Reply;
use crate::admin::routes::Call;
use crate::base::log::{self, COMPONENTS, Component, LEVELS, Level};

/// Without parameters only shows; with one, `level=`, `paths=` or `<name>=<level>`, changes first.
pub(super) fn change(call: &Call<'_>) -> Reply {
    match requested(&call.query.pairs) {
        Ok(changes) => {
            changes.into_iter().for_each(|(component, level)| log::set_level(component, level));
            Reply::text(active_loggers())
        }
        Err(error) => {
            let levels = LEVELS.map(Level::name).join(" ");
            Reply::error(
                400,
                format!(
                    "error: {error}\n\n\
                     usage: /logging?<name>=<level> (change single level)\n\
                     usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n\
                     usage: /logging?level=<level> (change all levels)\n\
                     levels: {levels} \n\n{}",
                    active_loggers()
                ),
            )
        }
    }
}

fn requested(pairs: &[(String, String)]) -> Result<Vec<(Component, Level)>, &'static str> {
    match pairs {
        [] => Ok(Vec::new()),
        [(_, value)] if value.is_empty() => Ok(Vec::new()),
        [(name, value)] => match name.as_str() {
            "level" => {
                let level = parse_level(value)?;
                Ok(COMPONENTS.iter().map(|component| (*component, level)).collect())
            }
            "paths" => value.split(',').map(parse_pair).collect(),
            name => Ok(vec![(parse_component(name)?, parse_level(value)?)]),
        },
        _ => Err("invalid number of parameters"),
    }
}

fn parse_pair(pair: &str) -> Result<(Component, Level), &'static str> {
    match pair.split_once(':') {
        Some((name, level)) if !name.is_empty() && !level.is_empty() => {
            Ok((parse_component(name)?, parse_level(level)?))
        }
        _ => Err("empty logger name or empty logger level"),
    }
}

fn parse_level(text: &str) -> Result<Level, &'static str> {
    text.parse().map_err(|_| "unknown logger level")
}

fn parse_component(name: &str) -> Result<Component, &'static str> {
    Component::from_name(name).ok_or("unknown logger name")
}

fn active_loggers() -> String {
    let mut text = String::from("active loggers:\n");
    for component in COMPONENTS {
        let _ = writeln!(text, "  {}: {}", component.name(), log::level(*component).name());
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, value: &str) -> Result<Vec<(Component, Level)>, &'static str> {
        requested(&[(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn requests_are_understood_or_refused_as_a_whole() {
        assert_eq!(asked("http", "off"), Ok(vec![(Component::Http, Level::Off)]));
        assert_eq!(asked("level", "trace").map(|changes| changes.len()), Ok(COMPONENTS.len()));
        assert_eq!(
            asked("paths", "dns:debug,http:error"),
            Ok(vec![(Component::Dns, Level::Debug), (Component::Http, Level::Error)])
        );
        assert_eq!(asked("paths", "dns:debug,nope:error"), Err("unknown logger name"));
        assert_eq!(asked("paths", "dns"), Err("empty logger name or empty logger level"));
        assert_eq!(asked("level", "loud"), Err("unknown logger level"));
        assert_eq!(asked("level", ""), Ok(vec![]));
        let two = [("level".to_owned(), "info".to_owned()), ("http".to_owned(), "info".to_owned())];
        assert_eq!(requested(&two), Err("invalid number of parameters"));
    }
}
