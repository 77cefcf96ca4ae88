//! The floor: a server with the least work that an admission webhook with signed approvals must do.
//!
//! One borrowed parse of the review, canonical JSON and SHA-256 of the object's spec in one pass, one strict Ed25519
//! check of the DSSE envelope in the approval annotation, the digests compared, an answer. No posture, no validity, no
//! capabilities, no record, no metrics: it is for comparison only. It has the HTTP and TLS stack of the webhook,
//! and the same signature library, so a ratio to the floor is the cost of the webhook's own work. The same server is also a
//! hop that answers every review with one response.

mod canonical;

use std::{
    borrow::Cow,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Once},
};

use anyhow::Context;
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::header::CONTENT_TYPE,
    response::IntoResponse,
    routing::post,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, VerifyingKey};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

pub(crate) use canonical::canonical;

use crate::load::UID;

/// The configuration of the floor.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    tls_cert_file: PathBuf,
    #[arg(long)]
    tls_private_key_file: PathBuf,
    /// The trusted key: 32 bytes in base64.
    #[arg(long, required_unless_present = "always")]
    public_key: Option<String>,
    /// Answer every review with the text of FILE, with the review's uid instead of `UID`
    #[arg(long, value_name = "FILE")]
    always: Option<PathBuf>,
    #[arg(long)]
    workers: usize,
}

pub(crate) fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    let behaviour = match (&arguments.always, &arguments.public_key) {
        (Some(file), _) => Behaviour::Always(fs::read_to_string(file)?),
        (None, key) => {
            let key = STANDARD.decode(key.as_deref().context("the floor requires a key")?)?;
            Behaviour::Floor(VerifyingKey::from_bytes(key.as_slice().try_into()?)?)
        }
    };
    let certificates = CertificateDer::pem_file_iter(&arguments.tls_cert_file)?.collect::<Result<Vec<_>, _>>()?;
    let private_key = PrivateKeyDer::from_pem_file(&arguments.tls_private_key_file)?;
    let mut tls = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, private_key)?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let tls = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let router = router(behaviour);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.workers).enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(arguments.listen)
            .await
            .with_context(|| format!("bind {}", arguments.listen))?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (tls, service) = (tls.clone(), TowerToHyperService::new(router.clone()));
            tokio::spawn(async move {
                // The load generator reports failed connections.
                if let Ok(stream) = tls.accept(stream).await {
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                }
            });
        }
    })
}

/// What the server does with a review.
pub(crate) enum Behaviour {
    Floor(VerifyingKey),
    /// A hop: this response without a look at the review.
    Always(String),
}

/// The routes.
pub(crate) fn router(behaviour: Behaviour) -> Router {
    let routes = Router::new().route("/validate", post(validate));
    routes.layer(DefaultBodyLimit::max(16 << 20)).with_state(Arc::new((behaviour, Once::new())))
}

async fn validate(State(state): State<Arc<(Behaviour, Once)>>, body: Bytes) -> impl IntoResponse {
    let (behaviour, first) = &*state;
    first.call_once(|| println!("the first review arrived"));
    let response = match behaviour {
        Behaviour::Floor(key) => answer(key, &body),
        Behaviour::Always(response) => {
            let start = memchr::memmem::find(&body, UID).map_or(0, |start| start + UID.len());
            let uid = body.get(start..start + uuid::fmt::Hyphenated::LENGTH).unwrap_or_default();
            response.replacen("UID", &String::from_utf8_lossy(uid), 1).into_bytes()
        }
    };
    ([(CONTENT_TYPE, "application/json")], response)
}

/// All work of the floor on a body.
pub(crate) fn answer(key: &VerifyingKey, body: &[u8]) -> Vec<u8> {
    let (uid, verdict) = match serde_json::from_slice::<Review>(body) {
        Err(_) => (Cow::default(), Err("the review is malformed")),
        Ok(Review { request }) => {
            let verdict = decide(key, request.object.as_ref());
            (request.uid, verdict)
        }
    };
    let (allowed, message, audit_annotations) = match verdict {
        Ok((id, spec_hash)) => (true, "approved", Some(AuditAnnotations { approvals: id, spec_hash })),
        Err(why) => (false, why, None),
    };
    let answer = Answer {
        api_version: "admission.k8s.io/v1",
        kind: "AdmissionReview",
        response: Response { uid: &uid, allowed, status: Status { message }, audit_annotations },
    };
    serde_json::to_vec(&answer).expect("strings and a bool are always JSON")
}

/// The approval's id and the spec's hash, in hex.
fn decide(key: &VerifyingKey, object: Option<&Object<'_>>) -> Result<(String, String), &'static str> {
    let object = object.ok_or("no object")?;
    let approval = object.metadata.annotations.as_ref().and_then(|annotations| annotations.approval.as_deref());
    let spec_hash = spec_hash(object.spec.get());
    let envelope: Envelope =
        serde_json::from_str(approval.ok_or("no approval")?).map_err(|_| "the approval is not an envelope")?;
    let payload = STANDARD.decode(&*envelope.payload).map_err(|_| "the payload is not base64")?;
    let [signature] = &envelope.signatures[..] else {
        return Err("not exactly one signature");
    };
    let signature = STANDARD.decode(&*signature.sig).map_err(|_| "the signature is not base64")?;
    let signature = Signature::from_slice(&signature).map_err(|_| "the signature has another length")?;
    key.verify_strict(&pre_authentication_encoding(&envelope.payload_type, &payload), &signature)
        .map_err(|_| "the signature is invalid")?;
    let statement: Statement = serde_json::from_slice(&payload).map_err(|_| "the payload is not a statement")?;
    if !statement.subject.iter().any(|subject| subject.digest.sha256 == spec_hash) {
        return Err("another spec is approved");
    }
    Ok((statement.predicate.id.into_owned(), spec_hash))
}

/// SHA-256 of the canonical spec without a projection, in hexadecimal.
pub(crate) fn spec_hash(spec: &str) -> String {
    hex(&Sha256::digest(canonical(spec)))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.map(|nibble| char::from(DIGITS[usize::from(nibble)])).collect()
}

/// The signed bytes of a DSSE envelope.
pub(crate) fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[derive(Deserialize)]
struct Review<'a> {
    #[serde(borrow)]
    request: Request<'a>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(borrow)]
    object: Option<Object<'a>>,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: &'a RawValue,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    annotations: Option<Annotations<'a>>,
}

#[derive(Deserialize)]
struct Annotations<'a> {
    #[serde(borrow, rename = "writgate.dev/approval")]
    approval: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    payload_type: Cow<'a, str>,
    #[serde(borrow)]
    payload: Cow<'a, str>,
    #[serde(borrow)]
    signatures: Vec<EnvelopeSignature<'a>>,
}

#[derive(Deserialize)]
struct EnvelopeSignature<'a> {
    #[serde(borrow)]
    sig: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Statement<'a> {
    #[serde(borrow)]
    subject: Vec<Subject<'a>>,
    #[serde(borrow)]
    predicate: Predicate<'a>,
}

#[derive(Deserialize)]
struct Subject<'a> {
    #[serde(borrow)]
    digest: SubjectDigest<'a>,
}

#[derive(Deserialize)]
struct SubjectDigest<'a> {
    #[serde(borrow)]
    sha256: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Predicate<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_annotations: Option<AuditAnnotations>,
}

#[derive(Serialize)]
struct Status {
    message: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct AuditAnnotations {
    approvals: String,
    spec_hash: String,
}
