//! A string that borrows from the text that it was read from.

use std::borrow::Cow;

use serde::Deserialize;

/// A string that stays in the text unless it has escapes. Unlike serde's `Cow`, it also borrows inside `Option` and
/// `Vec`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct BorrowedText<'a>(#[serde(borrow)] pub Cow<'a, str>);
