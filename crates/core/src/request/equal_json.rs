//! Whether two parts of an object are the same, as JSON.

use serde_json::value::RawValue;

use crate::{
    approval::projection::Projection,
    encoding::canonical::{canonical, may_contain_replacement_character},
};

/// Whether two JSON texts are the same and stand for the same content. U+FFFD stands for any bytes that are not UTF-8.
pub(crate) fn is_same_content(new: &str, old: &str) -> bool {
    new == old && !may_contain_replacement_character(new)
}

/// Whether two JSON texts have the same canonical form.
pub(crate) fn same_text(new: Option<&RawValue>, old: Option<&RawValue>, scope: Projection) -> bool {
    let (Some(new), Some(old)) = (new, old) else { return new.is_none() && old.is_none() };
    if is_same_content(new.get(), old.get()) {
        return true;
    }
    match (canonical(new.get(), scope), canonical(old.get(), scope)) {
        (Ok(new), Ok(old)) => new == old,
        _ => false,
    }
}
