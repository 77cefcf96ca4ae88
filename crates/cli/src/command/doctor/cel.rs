//! Compares the text of CEL expressions. Spaces do not count. Lists of API users may differ, because values of the chart
//! fill them: each of the differing users is named.

/// What starts each user of a list that the chart's values fill.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// How an expression differs from the expected one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// Lists of users have these users in addition; none if the expression is as expected or excludes fewer users.
    Users(Vec<String>),
    /// The expression is another one.
    Other,
}

pub(super) fn difference(expected: &str, found: &str) -> Difference {
    let (expected, found) = (Parts::of(expected), Parts::of(found));
    if expected.tokens != found.tokens || expected.lists.len() != found.lists.len() {
        return Difference::Other;
    }
    let mut users = Vec::new();
    for (expected, found) in expected.lists.iter().zip(&found.lists) {
        let is_users = !expected.is_empty() && expected.iter().all(|entry| entry.starts_with(SERVICE_ACCOUNT));
        if is_users {
            users.extend(found.iter().filter(|user| !expected.contains(user)).cloned());
        } else if expected != found {
            return Difference::Other;
        }
    }
    Difference::Users(users)
}

/// An expression without spaces, with a placeholder for each list that has only strings.
struct Parts {
    tokens: Vec<String>,
    lists: Vec<Vec<String>>,
}

impl Parts {
    fn of(expression: &str) -> Self {
        let (mut tokens, mut lists) = (Vec::new(), Vec::new());
        let all = tokens_of(expression);
        let mut at = 0;
        while let Some(token) = all.get(at) {
            let end = all[at..].iter().position(|token| token == "]").map(|length| at + length);
            let list = end.filter(|_| token == "[").and_then(|end| strings(&all[at + 1..end]).map(|list| (end, list)));
            match list {
                // An index, such as `annotations["name"]`, selects one member and is no list.
                Some((end, list)) if !is_index(tokens.last()) => {
                    tokens.push("[…]".to_owned());
                    lists.push(list);
                    at = end + 1;
                }
                _ => {
                    tokens.push(token.clone());
                    at += 1;
                }
            }
        }
        Self { tokens, lists }
    }
}

fn is_index(before: Option<&String>) -> bool {
    let Some(before) = before else { return false };
    before != "in" && before.ends_with(|char: char| char.is_alphanumeric() || matches!(char, '_' | ')' | ']'))
}

/// The strings of a list's tokens, which commas separate; none if it has something else.
fn strings(tokens: &[String]) -> Option<Vec<String>> {
    let mut strings = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match (at % 2, token.as_str()) {
            (0, string) => strings.push(string.strip_prefix('"')?.strip_suffix('"')?.to_owned()),
            (_, ",") => {}
            _ => return None,
        }
    }
    Some(strings)
}

fn tokens_of(expression: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '\'' => string_length(rest, first),
            char if is_word(char) => rest.find(|char| !is_word(char)).unwrap_or(rest.len()),
            char => char.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        if !first.is_whitespace() {
            tokens.push(token.to_owned());
        }
        rest = after;
    }
    tokens
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// The length of the string at the beginning of `text`, with both quotes.
fn string_length(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, char) in text.char_indices().skip(1) {
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            char if char == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: &str = "!(user in [\n  \"system:serviceaccount:a:b\",\n  \"system:serviceaccount:a:c\"\n])";

    #[test]
    fn spaces_and_missing_users_do_not_count() {
        for found in [
            "!( user in [ \"system:serviceaccount:a:b\",\"system:serviceaccount:a:c\" ] )",
            "!(user in [\"system:serviceaccount:a:c\"])",
            "!(user in [])",
        ] {
            assert_eq!(difference(EXPECTED, found), Difference::Users(Vec::new()), "{found}");
        }
    }

    #[test]
    fn names_each_user_in_addition() {
        let found = EXPECTED.replace(":c\"", ":c\", \"alice\"");
        assert_eq!(difference(EXPECTED, &found), Difference::Users(vec!["alice".to_owned()]));
    }

    #[test]
    fn another_text_is_another_expression() {
        for found in [
            "user in [\"system:serviceaccount:a:b\", \"system:serviceaccount:a:c\"]",
            "!(user in [\"system:serviceaccount:a:b\", \"system:serviceaccount:a:c\"]) || true",
            "!(user in [\"system:serviceaccount:a:b\", \"system:serviceaccount:a:c\", user])",
            "!(user in [\"system:serviceaccount:a:b\"]) // \"system:serviceaccount:a:c\"])",
            "true",
            "",
        ] {
            assert_eq!(difference(EXPECTED, found), Difference::Other, "{found}");
        }
        // A list that is not of users is part of the rule.
        assert_eq!(difference("[\"a\", \"b\"].exists(x, y)", "[\"a\"].exists(x, y)"), Difference::Other);
        assert_eq!(difference("map[\"a b\"] != x", "map[\"ab\"] != x"), Difference::Other);
        assert_eq!(difference("a in b", "ain b"), Difference::Other);
    }
}
