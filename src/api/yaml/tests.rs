//! The tree that YAML text gives, its bounds, and random text.

use super::*;
use crate::api::tree::{MAX_ALIAS_NODES, MAX_DEPTH};
use proptest::prelude::*;

fn shown(node: &Node) -> String {
    match &node.kind {
        Kind::Null => "null".into(),
        Kind::Bool(value) => value.to_string(),
        Kind::Int(value) => value.to_string(),
        Kind::Float(value) => value.to_string(),
        Kind::Str(text) => format!("{text:?}"),
        Kind::Seq(items) => {
            format!("[{}]", items.iter().map(|item| shown(item)).collect::<Vec<_>>().join(","))
        }
        Kind::Map(entries) => {
            let fields: Vec<_> = entries.iter().map(|e| format!("{}:{}", e.key, shown(&e.value))).collect();
            format!("{{{}}}", fields.join(","))
        }
    }
}

fn tree(text: &str) -> String {
    parse(text, 0).expect("valid").root.map_or_else(|| "-".into(), |root| shown(&root))
}

fn fault(text: &str) -> String {
    let error = parse(text, 0).expect_err("refused");
    format!("{}:{}: {}", error.pos.line, error.pos.column, error.message)
}

#[test]
fn only_unquoted_scalars_are_resolved() {
    assert_eq!(tree("[5, '5', \"5\", yes, 'yes', ~, '']"), r#"[5,"5","5",true,"yes",null,""]"#);
    assert_eq!(tree("a: |\n  5\nb: >-\n  yes\n"), r#"{a:"5\n",b:"yes"}"#);
}

/// As yaml-cpp in Envoy: an explicit tag does not keep a scalar from being resolved, except `!`.
#[test]
fn tags_change_nothing_but_the_bare_one() {
    assert_eq!(tree("[!!str 5, !!int '7', ! 5]"), r#"[5,7,"5"]"#);
}

#[test]
fn positions_count_lines_and_characters_from_one() {
    let document = parse("a:\n  é: [x, yy]\n", 3).expect("valid");
    let root = document.root.expect("a document");
    let Kind::Map(outer) = &root.kind else { panic!("a mapping") };
    let Kind::Map(inner) = &outer[0].value.kind else { panic!("a mapping") };
    let Kind::Seq(items) = &inner[0].value.kind else { panic!("a list") };
    assert_eq!(inner[0].key_pos, Pos { source: 3, line: 2, column: 3 });
    assert_eq!(items[1].pos, Pos { source: 3, line: 2, column: 10 });
}

#[test]
fn byte_order_mark_and_windows_line_ends() {
    assert_eq!(tree("\u{feff}a: 1\r\nb: 2\r\n"), "{a:1,b:2}");
}

#[test]
fn nothing_comments_and_further_documents() {
    assert_eq!(tree(""), "-");
    assert_eq!(tree("# only this\n"), "-");
    let document = parse("a: 1\n---\na: 2\n", 0).expect("valid");
    assert_eq!(document.root.map(|root| shown(&root)).as_deref(), Some("{a:1}"));
    assert_eq!(document.second_document.map(|pos| pos.line), Some(2));
}

#[test]
fn anchors_share_values_and_the_ignore_tag_hides_an_entry() {
    assert_eq!(tree("!ignore x: &a {k: 1}\ny: *a\nz: [*a]\n"), "{y:{k:1},z:[{k:1}]}");
    assert_eq!(tree("x: &k name\n*k : 1\n"), "{x:\"name\",name:1}");
    assert_eq!(fault("a: &x [*x]\n"), "1:8: an alias inside the value that it stands for");
    assert!(fault("a: *nobody\n").starts_with("1:4:"));
}

#[test]
fn what_envoy_refuses_and_what_we_refuse_besides() {
    assert!(fault("a: {}\nb:\n  <<: {c: 1}\n").starts_with("3:3: merge keys"));
    assert_eq!(tree("'<<': 1"), "{<<:1}");
    assert_eq!(fault("a: 1\nb: 2\na: 3\n"), "3:1: duplicate key `a`");
    let many: String = (0..100).map(|i| format!("k{i}: 1\n")).collect();
    assert_eq!(fault(&format!("{many}k7: 2\n")), "101:1: duplicate key `k7`");
    assert!(fault("? [a]\n: 1\n").contains("a key must be a string"));
}

#[test]
fn nesting_is_bounded_also_through_aliases() {
    let lists = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(parse(&lists(MAX_DEPTH), 0).is_ok());
    assert!(fault(&lists(MAX_DEPTH + 2)).contains("levels deep"));
    assert!(parse(&lists(100_000), 0).is_err());
    assert!(parse(&"- ".repeat(100_000), 0).is_err());
    let doubled = format!("a: &a {}\nb: {}*a{}\n", lists(60), "[".repeat(60), "]".repeat(60));
    assert!(fault(&doubled).contains("levels deep"));
}

#[test]
fn a_bomb_of_aliases_is_refused_quickly() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..40 {
        text += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", "));
    }
    assert!(fault(&text).contains(&format!("more than {MAX_ALIAS_NODES} values")));
}

#[test]
fn tabs_are_named() {
    let error = parse("a:\n\tb: 1\n", 0).expect_err("a tab");
    assert_eq!((error.pos.line, error.pos.column), (2, 1), "{error}");
    assert!(error.help.is_some_and(|help| help.contains("tab")));
}

/// Pieces that make YAML's grammar take odd turns.
fn fragment() -> impl Strategy<Value = String> {
    let pieces = [
        "a: ",
        "- ",
        "  ",
        "\n",
        "\n  ",
        "\t",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "? ",
        ": ",
        "&x ",
        "*x ",
        "!t ",
        "!!str ",
        "| \n",
        ">-\n",
        "'",
        "\"",
        "\\",
        "#c\n",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "<<: ",
        "é",
        "\u{feff}",
        "\r",
        "0x1",
        "yes",
        "~",
        "\u{0}",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..60).prop_map(|pieces| pieces.concat())
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        "\\PC*".prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec(("\\PC{0,12}", inner), 0..6)
                .prop_map(|entries| entries.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_gives_a_tree_or_an_error(text in "\\PC*") {
        let _ = parse(&text, 0);
    }

    #[test]
    fn any_mixture_of_yaml_gives_a_tree_or_a_placed_error(text in fragment()) {
        if let Err(error) = parse(&text, 0) {
            prop_assert!(!error.message.is_empty());
        }
    }

    /// JSON is YAML: both readers must see the same in it.
    #[test]
    fn json_reads_the_same_as_yaml(value in value(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let text = text.expect("serialises");
        let by_json = shown(&crate::api::json::parse(&text, 0).expect("valid JSON"));
        // `<<` as a quoted key is a string to both; keys longer than 1024 are not made here.
        prop_assert_eq!(tree(&text), by_json);
    }
}
