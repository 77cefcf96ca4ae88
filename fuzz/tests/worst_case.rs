//! The most expensive inputs within the limits, and the CPU time that each may take in a release build.
//!
//! `make fuzz` runs the test in release and prints the times. A debug build is much slower, but it still finds work that grows
//! with the square of the input.

use std::{hint::black_box, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use writgate_core::{
    approval::{PublicKey, manifest_hash},
    encoding::read_yaml,
    posture::{Document, PostureSet},
};
use writgate_fuzz::World;

/// The limits are strict for requests, since other requests wait for them, and lenient for documents, which are read when they
/// change. The API server sends no body of more than 3 MiB.
fn goal(target: &str, input: &[u8]) -> Duration {
    Duration::from_millis(match target {
        "posture" | "manifest" => 500,
        _ if input.len() > 3 * MIB => 100,
        _ => 50,
    })
}

/// On a busy machine the same work takes two to three times the CPU time.
const BUSY: u32 = if cfg!(debug_assertions) { 20 } else { 3 };

fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("a time")
}

/// An AdmissionReview with `text` instead of `marker`.
fn review(marker: &str, text: &str) -> Vec<u8> {
    let body = include_str!("../seeds/review/00-admitted.json");
    assert!(body.contains(marker), "{marker}");
    body.replacen(marker, text, 1).into_bytes()
}

/// `one(0)`, `one(1)`, … until they have this many bytes.
fn filled(bytes: usize, one: impl Fn(usize) -> String) -> String {
    let mut text = String::with_capacity(bytes + 100);
    let mut number = 0;
    while text.len() < bytes {
        text.push_str(&one(number));
        number += 1;
    }
    text
}

/// A debug build uses an eighth of every size.
const MIB: usize = if cfg!(debug_assertions) { 1 << 17 } else { 1 << 20 };
/// A ConfigMap's data.
const POSTURE: usize = MIB;

/// Class and description, target, input.
type Case = (&'static str, &'static str, Vec<u8>);

fn cases() -> Vec<Case> {
    [shapes_of_reviews(), contents_of_reviews(), envelopes(), postures(), conditions(), manifests()].concat()
}

/// Labels in the order in which the API server writes them.
fn labels(bytes: usize) -> String {
    filled(bytes, |n| format!("\"a{n:06}\": \"\", ")) + "\"z\": \"\""
}

/// An AdmissionReview with further metadata of its object.
fn in_metadata(text: &str) -> Vec<u8> {
    review("\"uid\": \"u-1\"", &format!("\"uid\": \"u-1\", {text}"))
}

/// An AdmissionReview with further fields of its object's container.
fn in_container(text: &str) -> Vec<u8> {
    review("\"image\": \"i\"", &format!("\"image\": \"i\", {text}"))
}

/// A review of 7 MiB that repeats one number in a member of the spec that Kubernetes does not know.
fn numbers(number: &str) -> Vec<u8> {
    in_container(&format!("\"x\": [{}0]", format!("{number},").repeat(7 * MIB / (number.len() + 1))))
}

fn shapes_of_reviews() -> Vec<Case> {
    vec![
        ("04 7 MiB of white space", "review", review("{", &format!("{{{}", " ".repeat(7 * MIB)))),
        ("04 7 MiB of text", "review", in_container(&format!("\"x\": \"{}\"", "x".repeat(7 * MIB)))),
        ("04 7 MiB of escapes", "review", in_container(&format!("\"x\": \"{}\"", "\\u00e9".repeat(7 * MIB / 6)))),
        ("06 10,000 levels", "review", in_container(&format!("\"x\": {}{}", "[".repeat(10_000), "]".repeat(10_000)))),
        ("06 7 MiB of brackets", "review", in_container(&format!("\"x\": {}", "[".repeat(7 * MIB)))),
        ("06 120 levels out of order", "review", {
            let levels = "{\"b\": ".repeat(110);
            let inner = format!("\"{}\"", "x".repeat(MIB));
            in_container(&format!("\"x\": {levels}{inner}{}", ", \"a\": 1}".repeat(110)))
        }),
        ("21 1 MiB of digits", "review", in_container(&format!("\"x\": 0.{}", "1".repeat(MIB)))),
        ("21 7 MiB of digits", "review", numbers("1")),
        ("21 7 MiB of negative digits", "review", numbers("-1")),
        ("21 7 MiB of tenths", "review", numbers("0.1")),
        ("21 7 MiB of exponents", "review", numbers("1e9")),
        ("21 7 MiB of negative zeros", "review", numbers("-0.0")),
        ("21 7 MiB of fractions of 17 digits", "review", numbers("0.30000000000000004")),
        ("21 7 MiB of integers of 16 digits", "review", numbers("-9007199254740991")),
        ("21 numbers", "review", in_container(&format!("\"x\": [{}0]", filled(MIB, |n| format!("{n}.5e-3, "))))),
        (
            "26 keys in reverse",
            "review",
            in_container(&format!("\"x\": {{{}\"\": 0}}", filled(MIB, |n| { format!("\"{}\": 0, ", 999_999 - n) }))),
        ),
        (
            "26 keys beyond ASCII in reverse",
            "review",
            in_container(&format!("\"x\": {{{}\"\": 0}}", filled(MIB, |n| { format!("\"é{}\": 0, ", 999_999 - n) }))),
        ),
    ]
}

fn contents_of_reviews() -> Vec<Case> {
    vec![
        ("23 managedFields of 1 MiB", "review", in_metadata(&format!("\"managedFields\": [{{{}}}]", labels(MIB)))),
        (
            "27 10,000 variables",
            "review",
            in_container(&{
                let all = filled(MIB, |n| format!("{{\"name\": \"VARIABLE_{n}\", \"value\": \"{n}\"}}, "));
                format!("\"env\": [{all}{{}}]")
            }),
        ),
        (
            "27 1,000 containers",
            "review",
            review("{\"name\": \"c\", \"image\": \"i\"}", &{
                let all = filled(MIB, |n| format!("{{\"name\": \"c{n}\", \"image\": \"ghcr.io/acme/r{n}:1\"}}, "));
                all + "{\"name\": \"c\", \"image\": \"i\"}"
            }),
        ),
        (
            "28 annotations of our domain",
            "review",
            in_metadata(&{
                let all = filled(256 << 10, |n| format!("\"writgate.dev/a{n}\": \"\", "));
                format!("\"annotations\": {{{all}\"z\": \"\"}}")
            }),
        ),
        ("29 1 MiB of labels", "review", in_metadata(&format!("\"labels\": {{{}}}", labels(MIB)))),
        ("29 labels that a selector looks at", "review", replica_set(&labels(MIB / 2))),
        ("30 groups", "review", review("\"dev\"", &(filled(MIB, |n| format!("\"group-{n}\", ")) + "\"dev\""))),
        (
            "30 extra of 64 KiB",
            "review",
            review("\"groups\"", &format!("\"extra\": {{{}}}, \"groups\"", labels(64 << 10))),
        ),
    ]
}

fn envelopes() -> Vec<Case> {
    vec![
        ("31 payload of 32 KiB", "envelope", format!("{{\"payload\": \"{}\"}}", "A".repeat(32_000)).into_bytes()),
        ("34 signatures by nobody", "envelope", signatures("", "AA==")),
        ("34 signatures of 64 bytes by nobody", "envelope", signatures("", &format!("{}==", "A".repeat(86)))),
        (
            "46 10,000 capabilities",
            "approval",
            format!("{{\"predicate\": {{\"capabilities\": [{}\"a\"]}}}}", "\"a\",".repeat(5_000)).into_bytes(),
        ),
    ]
}

fn postures() -> Vec<Case> {
    vec![
        ("51 aliases of aliases", "posture", {
            let levels = filled(2_000, |n| format!("a{}: &a{} [{}*a{n}]\n", n + 1, n + 1, format!("*a{n},").repeat(8)));
            format!("a0: &a0 [x]\n{levels}").into_bytes()
        }),
        ("51 1 MiB of lists", "posture", "- ".repeat(POSTURE / 2).into_bytes()),
        ("51 1 MiB of keys", "posture", filled(POSTURE, |n| format!("k{n}: 1\n")).into_bytes()),
        (
            "51 1 MiB of nulls",
            "posture",
            (POSTURE_HEAD.to_owned() + &filled(POSTURE, |n| format!("k{n}:\n"))).into_bytes(),
        ),
        (
            "51 environments that cannot be read",
            "posture",
            ("a: [\n".to_owned() + &"environment:".repeat(POSTURE / 12)).into_bytes(),
        ),
        (
            "51 a word that may be a boolean",
            "posture",
            ("y: y\n".to_owned() + &filled(POSTURE, |n| format!("k{n}: n\n"))).into_bytes(),
        ),
        ("52 1 MiB of quorums", "posture", {
            let all = filled(POSTURE, |n| format!("    - {{group: g{n}, count: 0}}\n"));
            format!("{POSTURE_HEAD}actions:\n  deploy:\n    quorum:\n{all}").into_bytes()
        }),
        ("53 1 MiB of keys", "posture", {
            let all = filled(POSTURE, |n| {
                format!(
                    "- {{name: n{n}, capabilities: [deploy], keys: [{{publicKey: \"{}\"}}]}}\n",
                    WEAK.replace('\n', "\\n")
                )
            });
            format!("apiVersion: writgate.dev/v1\nkind: Reviewers\nname: r\nreviewers:\n{all}").into_bytes()
        }),
        (
            "55 postures of one environment",
            "posture",
            format!("{POSTURE_HEAD}---\n").repeat(POSTURE / (POSTURE_HEAD.len() + 4)).into_bytes(),
        ),
        ("55 sets without a name", "posture", {
            let set = "kind: Reviewers\n---\n".repeat(POSTURE / 40);
            let names = filled(POSTURE / 2, |n| format!("r{n}, "));
            format!("{set}{POSTURE_HEAD}reviewerSets: [{names}z]\n").into_bytes()
        }),
        ("51 image patterns", "posture", {
            let pattern = format!("'ghcr.io/{}'", "{a,?}".repeat(90));
            let all = filled(64 << 10, |_| format!("{pattern}, "));
            format!("{POSTURE_HEAD}replay: {{images: [{all} x]}}\n").into_bytes()
        }),
    ]
}

fn conditions() -> Vec<Case> {
    vec![
        (
            "51 a rule over each pair of containers",
            "rule",
            b"containers.all(c, containers.all(d, c.name + d.name != ''))".to_vec(),
        ),
        (
            "51 a pattern over each pair of containers",
            "rule",
            b"containers.all(c, containers.all(d, !d.image.matches('(a|b|c)*x$')))".to_vec(),
        ),
        ("51 rules of negations", "posture", rules(&("!".repeat(2000) + "true"))),
        ("51 rules of sums", "posture", rules(&("1+".repeat(900) + "1 == 1"))),
        ("51 rules of brackets", "posture", rules(&("(".repeat(60) + "true" + &")".repeat(60)))),
        ("51 rules of lists", "posture", rules(&("[".repeat(1000) + &"]".repeat(1000)))),
        ("51 rules of fields", "posture", rules(&format!("object.spec{} == 1", ".a".repeat(900)))),
        ("51 rules of choices", "posture", rules(&("true ? true : ".repeat(140) + "true"))),
        ("51 rules of patterns", "posture", rules(&("'a'.matches('[a-z]{1,40}') && ".repeat(60) + "true"))),
        ("51 rules of open texts", "posture", rules(&"\"\"\"".repeat(600))),
    ]
}

fn manifests() -> Vec<Case> {
    vec![
        ("60 documents", "manifest", "---\na: 1\n".repeat(MIB / 9).into_bytes()),
        ("60 one document", "manifest", filled(MIB, |n| format!("k{n}: {n}\n")).into_bytes()),
        ("22 a quantity of 1 MiB", "manifest", quantity(&"1".repeat(MIB))),
        ("22 a quantity with a large exponent", "manifest", quantity("1e999999999")),
        ("22 a quantity with many places", "manifest", quantity(&format!("0.{}1", "0".repeat(MIB)))),
        (
            "53 a PEM of 1 MiB",
            "key",
            format!(
                "-----BEGIN PUBLIC KEY-----\n{}-----END PUBLIC KEY-----\n",
                ("A".repeat(63) + "\n").repeat(MIB / 64)
            )
            .into_bytes(),
        ),
        ("53 beginnings of PEM blocks", "key", "-----BEGIN ".repeat(MIB / 11).into_bytes()),
    ]
}

const POSTURE_HEAD: &str = "apiVersion: writgate.dev/v1\nkind: Posture\nenvironment: production\n";
/// The neutral element, under which nearly every signature is valid.
const WEAK: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n-----END PUBLIC KEY-----\n";

/// A posture with the largest permitted number of rules.
fn rules(when: &str) -> Vec<u8> {
    let when = when.replace('\'', "''");
    let all = (0..64).map(|n| format!("- {{name: r{n}, require: [deploy.r], when: '{when}'}}\n"));
    format!("{POSTURE_HEAD}capabilityRules:\n{}", all.collect::<String>()).into_bytes()
}

fn quantity(text: &str) -> Vec<u8> {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nspec: {{template: {{spec: {{containers: [{{name: c, image: i, \
         resources: {{limits: {{cpu: \"{text}\"}}}}}}]}}}}}}\n"
    )
    .into_bytes()
}

fn signatures(keyid: &str, sig: &str) -> Vec<u8> {
    let all = vec![format!("{{\"keyid\": \"{keyid}\", \"sig\": \"{sig}\"}}"); 16].join(",");
    format!("{{\"payloadType\": \"application/vnd.in-toto+json\", \"payload\": \"e30=\", \"signatures\": [{all}]}}")
        .into_bytes()
}

/// A scaled-down ReplicaSet with these labels and a selector that uses all of them.
fn replica_set(labels: &str) -> Vec<u8> {
    let object = |replicas: u8| {
        format!(
            "{{\"apiVersion\": \"apps/v1\", \"kind\": \"ReplicaSet\", \"metadata\": {{\"name\": \"orders\", \
             \"labels\": {{{labels}}}}}, \"spec\": {{\"replicas\": {replicas}, \"selector\": {{\"matchLabels\": \
             {{{labels}}}}}, \"template\": {{}}}}}}"
        )
    };
    format!(
        "{{\"apiVersion\": \"admission.k8s.io/v1\", \"kind\": \"AdmissionReview\", \"request\": {{\"uid\": \"u\", \
         \"operation\": \"UPDATE\", \"kind\": {{\"group\": \"apps\", \"version\": \"v1\", \"kind\": \"ReplicaSet\"}}, \
         \"resource\": {{\"group\": \"apps\", \"version\": \"v1\", \"resource\": \"replicasets\"}}, \
         \"name\": \"orders\", \"namespace\": \"payments\", \"userInfo\": {{\"username\": \"alice\"}}, \
         \"object\": {}, \"oldObject\": {}}}}}",
        object(1),
        object(2)
    )
    .into_bytes()
}

/// Processes an input once, as Writgate does.
fn work<'i>(target: &str, input: &'i [u8]) -> Box<dyn FnOnce() + 'i> {
    let world = World::shared();
    let decide = move |body: Vec<u8>| {
        Box::new(move || {
            black_box(world.decide(&body, "production"));
        })
    };
    let text = std::str::from_utf8(input).expect("UTF-8");
    match target {
        "review" => decide(input.to_vec()),
        "envelope" => decide(world.approved_by(text)),
        "rule" => {
            let all = filled(MIB, |n| format!("{{\"name\": \"c{n}\", \"image\": \"ghcr.io/acme/r{n}:1\"}}, "));
            let last = "{\"name\": \"c\", \"image\": \"i\"}";
            let body = review(last, &(all + last));
            let postures = world.with_rule(text);
            assert_eq!(postures.problems(), []);
            Box::new(move || {
                black_box(world.decide_under(&postures, &body, "production"));
            })
        }
        "approval" => decide(world.approved_by(&world.signed(input).to_json())),
        "posture" => {
            let documents = vec![Document { source: "posture".to_owned(), name: None, text: text.to_owned() }];
            Box::new(|| {
                black_box(PostureSet::assemble(documents));
            })
        }
        "manifest" => Box::new(move || {
            black_box(read_yaml(text).map(|documents| documents.iter().map(manifest_hash).collect::<Vec<_>>())).ok();
        }),
        "key" => Box::new(move || {
            black_box(PublicKey::from_pem(text)).ok();
        }),
        _ => panic!("{target} has no worst case"),
    }
}

#[test]
fn the_most_expensive_inputs_stay_within_their_limits() {
    let mut slow = Vec::new();
    for (what, target, input) in cases() {
        let work = work(target, &input);
        let begun = cpu_time();
        work();
        let spent = cpu_time().saturating_sub(begun);
        let goal = goal(target, &input);
        println!("{:>9.3} ms  {:>5} KiB  {target:9} {what}", spent.as_secs_f64() * 1e3, input.len() / 1024);
        if spent > BUSY * goal {
            slow.push(format!("{target}: {what} took {spent:?}, the goal is {goal:?}"));
        }
    }
    assert!(slow.is_empty(), "{}", slow.join("\n"));
}
