//! The limits of conditions: any text compiles or is refused, and any condition has a result or an error within the limit
//! of steps.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{CapabilityRule, answer, review, rule, with_input};

fn with_args(count: usize, of: &str) -> Value {
    let mut review = review();
    review["request"]["object"]["spec"]["template"]["spec"]["containers"][0]["args"] = vec![of; count].into();
    review
}

#[track_caller]
fn assert_too_costly(review: &Value, when: &str) {
    let error = answer(review, when).expect_err(when);
    assert!(error.contains("take more than 1000000 steps on this object"), "{when}: {error}");
}

#[test]
fn a_condition_that_is_too_costly_on_a_large_object_is_an_error() {
    let large = with_args(40_000, "aaaaaaaaaaaaaaaaaaaaa");
    for when in [
        "pod.containers[0].args.all(a, pod.containers[0].args.all(b, a == b))",
        "pod.containers[0].args.exists(a, pod.containers[0].args.exists(b, a + b == ''))",
        "pod.containers[0].args.all(a, pod == object.spec.template.spec)",
        "pod.containers[0].args.all(a, pod.containers[0].args.filter(b, b == a) != [a])",
        "pod.containers[0].args.all(a, a.matches('^(a|aa|aaa){0,20}$'))",
        "pod.containers[0].args.all(a, !(a in pod.containers[0].args.map(b, b + 'b')))",
    ] {
        assert_too_costly(&large, when);
    }
    assert_eq!(answer(&large, "pod.containers[0].args.all(a, a.startsWith('aa') && size(a) == 21)"), Ok(true));
}

#[test]
fn an_object_with_too_many_values_is_an_error_before_it_fills_the_memory() {
    let many = with_args(240_000, "");
    assert_eq!(answer(&many, "request.dryRun"), Ok(true));
    assert_too_costly(&with_args(260_000, ""), "pod != null");
}

#[test]
fn the_limit_of_steps_is_final_whatever_the_other_operand_is() {
    let large = with_args(2000, "a");
    let costly = "pod.containers[0].args.all(a, pod.containers[0].args.all(b, a == b))";
    for when in [format!("{costly} || true"), format!("true && ({costly} || request.dryRun)")] {
        assert_too_costly(&large, &when);
    }
    assert_eq!(answer(&large, &format!("true || {costly}")), Ok(true));
}

#[test]
fn a_condition_that_is_costly_by_itself_is_an_error() {
    let doubled = ".map(a, a + a)".repeat(40);
    let nested = |item: &str| {
        let open = (0..12).fold(String::new(), |mut open, depth| {
            let _ = write!(open, "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9].all(x{depth}, ");
            open
        });
        format!("{open}{item}{}", ")".repeat(12))
    };
    for when in [
        format!("[[1]]{doubled} == []"),
        format!("['1']{doubled} == []"),
        nested("x0 == x0"),
        nested("x0 / 0 == 0 || true"),
    ] {
        assert_too_costly(&review(), &when);
    }
}

#[test]
fn all_rules_of_a_request_share_one_limit_of_steps() {
    let large = with_args(10_000, "aaaaaaaa");
    let one = rule("pod.containers[0].args.all(a, a == 'aaaaaaaa')").unwrap();
    let matching = |rules: &[CapabilityRule]| {
        with_input(&large["request"], |input| super::matching(rules, input).map(|matching| matching.len()))
    };
    assert_eq!(matching(&vec![one.clone(); 5]), Ok(5));
    assert!(matching(&vec![one; 64]).is_err());
}

#[test]
fn deep_objects_and_texts_do_not_overflow_the_stack() {
    let mut review = review();
    let mut deep = json!(1);
    for _ in 0..110 {
        deep = json!([deep]);
    }
    review["request"]["object"]["spec"]["deep"] = deep;
    assert_eq!(answer(&review, "object.spec.deep == object.spec.deep"), Ok(true));
    for (text, count, middle, closing) in [
        ("(", 1000, "true", ")"),
        ("!", 2000, "true", ""),
        ("[", 1000, "", "]"),
        ("true ? true : ", 140, "true", ""),
        ("containers.all(c, ", 100, "true", ")"),
        ("request", 1, &".a".repeat(1000), ""),
        ("containers", 1, &"[0]".repeat(600), ""),
        ("1", 1, &"+1".repeat(1000), " == 1"),
        ("{'a': ", 300, "1", "}"),
        ("f(", 1000, "", ")"),
    ] {
        let _ = rule(&format!("{}{middle}{}", text.repeat(count), closing.repeat(count)));
    }
    let balanced = vec!["request.dryRun"; 100].join(" && ");
    assert_eq!(answer(&review, &balanced), Ok(true));
}

/// Conditions with every kind of node, mostly with wrong types.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("object"),
        Just("oldObject"),
        Just("pod"),
        Just("containers"),
        Just("request"),
        Just("x"),
        Just("true"),
        Just("false"),
        Just("null"),
        Just("0"),
        Just("-1"),
        Just("9223372036854775807"),
        Just("0.0"),
        Just("1e300"),
        Just("''"),
        Just("'name'"),
        Just("'a\\u00e9'"),
        Just("[]"),
        Just("{}"),
        Just("object.spec"),
        Just("object.metadata"),
        Just("oldObject.spec.template"),
        Just("'10Gi'"),
    ]
    .prop_map(str::to_owned);
    leaf.prop_recursive(6, 40, 3, |inner| {
        let operator = prop_oneof![
            Just("=="),
            Just("!="),
            Just("<"),
            Just(">="),
            Just("+"),
            Just("-"),
            Just("*"),
            Just("/"),
            Just("%"),
            Just("in"),
            Just("&&"),
            Just("||"),
        ];
        let field = prop_oneof![Just("name"), Just("spec"), Just("containers"), Just("securityContext")];
        let method = prop_oneof![
            Just("startsWith"),
            Just("contains"),
            Just("endsWith"),
            Just("orValue"),
            Just("isGreaterThan"),
            Just("compareTo"),
        ];
        let global = prop_oneof![
            Just("size"),
            Just("quantity"),
            Just("isQuantity"),
            Just("int"),
            Just("string"),
            Just("dyn"),
            Just("-"),
            Just("!")
        ];
        let each = prop_oneof![Just("all"), Just("exists"), Just("exists_one"), Just("filter"), Just("map")];
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, o, b)| format!("({a} {o} {b})")),
            (inner.clone(), field.clone()).prop_map(|(a, f)| format!("{a}.{f}")),
            (inner.clone(), field.clone()).prop_map(|(a, f)| format!("{a}.?{f}")),
            (inner.clone(), field).prop_map(|(a, f)| format!("has({a}.{f})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[?{b}]")),
            (inner.clone(), method, inner.clone()).prop_map(|(a, m, b)| format!("{a}.{m}({b})")),
            (global, inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            (inner.clone(), each, inner.clone()).prop_map(|(a, m, b)| format!("{a}.{m}(x, {b})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{{a}: {b}}}")),
            inner.clone().prop_map(|a| format!("{a}.matches('^[a-z]*$')")),
            inner.prop_map(|a| format!("{a}.lowerAscii()")),
        ]
    })
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let key = prop_oneof![Just("name".to_owned()), Just("containers".to_owned()), "[a-z]{1,3}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(key, inner, 0..5).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn compiling_never_panics(
        text in "\\PC{0,80}",
        structured in "[a-z0-9.?:()\\[\\]{},&|!<>=+*/%' \"\\\\\n-]{0,80}",
        tokens in prop::collection::vec(prop_oneof![
            Just("a"), Just("."), Just("("), Just(")"), Just("["), Just("]"), Just("{"), Just("}"), Just("?"), Just(":"),
            Just(","), Just("&&"), Just("||"), Just("!"), Just("-"), Just("=="), Just("in"), Just("1"), Just("1u"),
            Just("'x'"), Just("r'"), Just("b'\\377'"), Just("\"\"\""), Just("has"), Just("exists"), Just("`a`"),
            Just("\\"), Just("//"), Just("\n"), Just("\u{e9}"), Just("T{"), Just("0x"), Just("1e"), Just("for"),
        ], 0..40),
    ) {
        for text in [text, structured, tokens.concat(), tokens.join(" ")] {
            let _ = rule(&text);
        }
    }

    #[test]
    fn evaluating_never_panics(
        condition in expressions(),
        spec in values(),
        pod in values(),
    ) {
        // Most of the expressions are not bools, so they are in a list. Some refer to x, so they are in a macro.
        let condition = format!("containers.map(x, [{condition}]) != []");
        if rule(&condition).is_ok() {
            let mut review = review();
            let _ = answer(&review, &condition);
            review["request"]["object"]["spec"]["template"]["spec"] = pod;
            let _ = answer(&review, &condition);
            review["request"]["object"]["spec"] = spec;
            let _ = answer(&review, &condition);
        }
    }
}
