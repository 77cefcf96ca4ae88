//! The stylesheet, the script and the icon: part of the program, named by their digests, so that a browser keeps none of an
//! earlier version.

use std::sync::LazyLock;

use axum::{
    Router,
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sha2::{Digest as _, Sha256};
use writgate_core::encoding::hex;

use crate::console::{PageError, Shared};

/// The folder of the addresses. It requires no session.
pub(super) const FOLDER: &str = "/assets/";

/// A file of the console.
pub(super) struct Asset {
    content: &'static str,
    kind: &'static str,
    name: String,
    /// The value of the attribute `integrity`.
    pub(super) integrity: String,
}

pub(super) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::of("console", "css", "text/css; charset=utf-8", include_str!("assets/console.css")));
pub(super) static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::of("console", "js", "text/javascript; charset=utf-8", include_str!("assets/console.js")));
pub(super) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::of("icon", "svg", "image/svg+xml", include_str!("assets/icon.svg")));

impl Asset {
    fn of(name: &str, extension: &str, kind: &'static str, content: &'static str) -> Self {
        let digest: [u8; 32] = Sha256::digest(content).into();
        let hex = hex::encode(&digest);
        let (short, _) = hex.split_at(16);
        Self {
            content,
            kind,
            name: format!("{name}-{short}.{extension}"),
            integrity: format!("sha256-{}", BASE64.encode(digest)),
        }
    }

    pub(super) fn address(&self) -> String {
        format!("{FOLDER}{}", self.name)
    }
}

pub(super) fn router() -> Router<Shared> {
    Router::new().route("/assets/{name}", get(asset))
}

async fn asset(Path(name): Path<String>) -> Result<Response, PageError> {
    let all: [&Asset; 3] = [&STYLE, &SCRIPT, &ICON];
    let Some(found) = all.into_iter().find(|asset| asset.name == name) else {
        return Err(PageError::new(StatusCode::NOT_FOUND, "Not found", "The console has no such file."));
    };
    let headers = [(header::CONTENT_TYPE, found.kind), (header::CACHE_CONTROL, "private, max-age=31536000, immutable")];
    Ok((headers, found.content).into_response())
}
