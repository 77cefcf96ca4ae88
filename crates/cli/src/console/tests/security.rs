//! Nobody else gets in. Each test starts from a request that passes, and changes one thing.

use std::time::Duration;

use axum::http::{HeaderValue, Method, StatusCode, header};

use crate::console::{
    listen,
    tests::{Served, get, settings},
};

#[test]
fn the_address_opens_one_session_and_leaves_the_address_bar() {
    let served = Served::new();
    let secret = served.console.session.secret().expect("an address");
    let answer = served.send(get(&format!("/open?secret={secret}"), "")).expect(StatusCode::SEE_OTHER, "");
    let first = answer.header("location");
    assert_eq!(first, served.console.at("/"));
    let cookie = answer.header("set-cookie");
    for attribute in ["HttpOnly", "SameSite=Strict", &format!("Path={first}")] {
        assert!(cookie.split("; ").any(|found| found == attribute), "{cookie}");
    }
    assert!(first.len() > 64 && !first.contains(&secret), "the prefix is another secret");
    assert!(!cookie.contains(&secret), "the cookie is another secret");
    let cookie = cookie.split(';').next().expect("a cookie");
    served.send(served.get("/", cookie)).expect(StatusCode::OK, "Requests");
}

#[test]
fn refuses_an_address_that_is_used_wrong_or_absent() {
    let served = Served::new();
    let secret = served.console.session.secret().expect("an address");
    let closed = StatusCode::FORBIDDEN;
    served.send(get("/open", "")).expect(closed, "not the address that the terminal shows");
    served.send(get(&format!("/open?secret={}", &secret[1..]), "")).expect(closed, "not the address");
    let mut head = get(&format!("/open?secret={secret}"), "");
    *head.method_mut() = Method::HEAD;
    assert_eq!(served.send(head).status, StatusCode::METHOD_NOT_ALLOWED, "a check of the link does not use it up");
    let cookie = served.open();
    let again = served.send(get(&format!("/open?secret={secret}"), "")).expect(closed, "was used already");
    assert_eq!(again.header("set-cookie"), "");
    served.send(served.get("/", &cookie)).expect(StatusCode::OK, "Requests");
}

#[test]
fn a_navigation_from_a_file_reaches_the_first_page_without_a_redirect() {
    let served = Served::new();
    let secret = served.console.session.secret().expect("an address");
    let mut request = get(&format!("/open?secret={secret}"), "");
    request.headers_mut().insert("sec-fetch-site", HeaderValue::from_static("cross-site"));
    let answer = served.send(request).expect(StatusCode::OK, "http-equiv=\"refresh\"");
    let next = format!("content=\"0;url={}\"", served.console.at("/"));
    assert!(answer.text.contains(&next), "{}", answer.text);
    assert!(answer.header("set-cookie").starts_with("writgate-console-4321="));
}

#[test]
fn refuses_a_request_without_the_cookie_of_the_session() {
    let served = Served::new();
    let closed = |cookie: &str| {
        served.send(served.get("/", cookie)).expect(StatusCode::UNAUTHORIZED, "closed to this browser");
    };
    closed("");
    let cookie = served.open();
    closed("");
    closed(&cookie[..cookie.len() - 1]);
    closed(&cookie.replace("4321", "4322"));
    served.send(served.get("/", &format!("a=b; {cookie}"))).expect(StatusCode::OK, "Requests");
}

#[test]
fn a_path_without_the_prefix_of_the_session_is_closed() {
    let served = Served::new();
    let cookie = served.open();
    let page = served.console.at("/");
    served.send(get(&page, &cookie)).expect(StatusCode::OK, "Requests");
    let (start, end) = page.split_at(page.len() - 2);
    let other = format!("{start}{}/", if end == "0/" { "1" } else { "0" });
    for path in
        ["/", "/history", "/live/requests?after=0", "//", &other, &page[..page.len() - 1], &page[..page.len() - 2]]
    {
        let answer = served.send(get(path, &cookie)).expect(StatusCode::UNAUTHORIZED, "closed to this browser");
        assert!(!answer.text.contains(page.trim_matches('/')), "{path}");
    }
    let mut form = served.post("/end", &cookie, "");
    *form.uri_mut() = "/end".parse().expect("a path");
    served.send(form).expect(StatusCode::UNAUTHORIZED, "closed to this browser");
    served.send(get(&page, &cookie)).expect(StatusCode::OK, "Requests");
}

#[test]
fn only_the_browser_of_the_session_learns_the_prefix() {
    let served = Served::new();
    let secret = served.console.session.secret().expect("an address");
    let cookie = served.open();
    let prefix = served.console.at("");
    let without = |request| {
        let answer = served.send(request);
        assert_ne!(answer.status, StatusCode::OK);
        assert!(!answer.text.contains(&prefix), "{}", answer.text);
        assert!(answer.headers.values().all(|value| !value.to_str().expect("ASCII").contains(&prefix)));
    };
    without(get("/", ""));
    without(get("/", &cookie));
    without(get("/open", &cookie));
    without(get(&format!("/open?secret={secret}"), &cookie));
    without(get("/assets/none.js", &cookie));
    without(served.get("/", ""));
    for (name, value) in
        [("sec-fetch-site", "same-site"), ("origin", "http://127.0.0.1:4322"), ("host", "evil.example")]
    {
        let mut request = served.get("/", &cookie);
        request.headers_mut().insert(name, HeaderValue::from_static(value));
        without(request);
    }
    let mistake = served.send(served.get("/nothing", &cookie)).text;
    assert!(mistake.contains(&format!("href=\"{prefix}/\"")), "{mistake}");
}

#[test]
fn each_session_has_a_prefix_of_its_own() {
    let served = Served::new();
    let cookie = served.open();
    let first = served.console.at("/");
    served.send(served.post("/end", &cookie, "")).expect(StatusCode::OK, "The session has ended");
    let next = served.open();
    served.send(get(&first, &next)).expect(StatusCode::UNAUTHORIZED, "closed to this browser");
    served.send(served.get("/", &next)).expect(StatusCode::OK, "Requests");
}

#[test]
fn every_address_of_a_page_has_the_prefix() {
    let served = Served::new();
    let cookie = served.open();
    let (prefix, assets) = (served.console.at("/"), "/assets/");
    for path in ["/", "/history", "/running", "/postures", "/nothing", "/requests/payments/request-0"] {
        let text = served.send(served.get(path, &cookie)).text;
        for attribute in ["href", "src", "action", "formaction", "data-live"] {
            for address in text.split(&format!(" {attribute}=\"")).skip(1) {
                let known = [&*prefix, assets, "#"].iter().any(|start| address.starts_with(start));
                assert!(known, "{path}: {attribute}={:?}", address.split('"').next());
            }
        }
    }
}

#[test]
fn a_cookie_that_another_port_has_set_does_not_hide_the_own_one() {
    let served = Served::new();
    let cookie = served.open();
    for cookies in ["writgate-console-4321=junk; OWN", "OWN; writgate-console-4321=junk", "writgate-console-4321=; OWN"]
    {
        let request = served.get("/", &cookies.replace("OWN", &cookie));
        served.send(request).expect(StatusCode::OK, "Requests");
    }
    let junk = served.get("/", "writgate-console-4321=junk; writgate-console-4321=more");
    served.send(junk).expect(StatusCode::UNAUTHORIZED, "closed to this browser");
}

#[test]
fn what_another_site_loads_is_refused_and_no_use() {
    let mut short = settings();
    short.idle_timeout = Duration::from_millis(1500);
    let served = Served::with(short);
    let cookie = served.open();
    let sent = |site: &'static str| {
        let mut request = served.get("/", &cookie);
        request.headers_mut().insert("sec-fetch-site", HeaderValue::from_static(site));
        served.send(request)
    };
    for site in ["none", "same-origin"] {
        sent(site).expect(StatusCode::OK, "Requests");
    }
    std::thread::sleep(Duration::from_secs(1));
    for site in ["same-site", "cross-site", "something"] {
        sent(site).expect(StatusCode::FORBIDDEN, "Another site led to this address");
    }
    std::thread::sleep(Duration::from_secs(1));
    sent("none").expect(StatusCode::UNAUTHORIZED, "Nobody used the console for some time");
}

#[test]
fn refuses_another_host() {
    let served = Served::new();
    let cookie = served.open();
    for (host, status) in [
        ("127.0.0.1:4321", StatusCode::OK),
        ("[::1]:4321", StatusCode::OK),
        ("localhost:4321", StatusCode::OK),
        ("127.0.0.1", StatusCode::MISDIRECTED_REQUEST),
        ("127.0.0.1:4322", StatusCode::MISDIRECTED_REQUEST),
        ("evil.example:4321", StatusCode::MISDIRECTED_REQUEST),
        ("localhost.evil.example:4321", StatusCode::MISDIRECTED_REQUEST),
        ("", StatusCode::MISDIRECTED_REQUEST),
    ] {
        let mut request = served.get("/", &cookie);
        request.headers_mut().insert(header::HOST, HeaderValue::from_str(host).expect("a host"));
        let answer = served.send(request);
        assert_eq!(answer.status, status, "{host}");
        assert_eq!(answer.text.contains("Another host"), status != StatusCode::OK, "{host}");
    }
    let mut twice = served.get("/", &cookie);
    twice.headers_mut().append(header::HOST, HeaderValue::from_static("127.0.0.1:4321"));
    served.send(twice).expect(StatusCode::MISDIRECTED_REQUEST, "Another host");
}

#[test]
fn another_host_cannot_use_up_the_address() {
    let served = Served::new();
    let secret = served.console.session.secret().expect("an address");
    let mut request = get(&format!("/open?secret={secret}"), "");
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("evil.example:4321"));
    served.send(request).expect(StatusCode::MISDIRECTED_REQUEST, "Another host");
    served.open();
}

#[test]
fn refuses_a_form_of_another_origin() {
    let served = Served::new();
    let cookie = served.open();
    for (name, value) in [
        ("origin", Some("http://evil.example")),
        ("origin", Some("http://127.0.0.1:4322")),
        ("origin", Some("https://127.0.0.1:4321")),
        ("origin", Some("http://localhost:4321")),
        ("origin", Some("null")),
        ("origin", None),
        ("sec-fetch-site", Some("cross-site")),
        ("sec-fetch-site", Some("same-site")),
        ("sec-fetch-site", Some("none")),
    ] {
        let mut request = served.post("/end", &cookie, "");
        match value {
            Some(value) => drop(request.headers_mut().insert(name, HeaderValue::from_static(value))),
            None => drop(request.headers_mut().remove(name)),
        }
        served.send(request).expect(StatusCode::FORBIDDEN, "Another site");
        served.send(served.get("/", &cookie)).expect(StatusCode::OK, "Requests");
    }
    served.send(served.post("/end", &cookie, "")).expect(StatusCode::OK, "The session has ended");
}

#[test]
fn refuses_a_form_without_the_token_of_the_session() {
    let served = Served::new();
    let cookie = served.open();
    let token = served.console.session.csrf();
    for body in ["", "csrf=", &format!("csrf={}", &token[1..]), &format!("token={token}")] {
        let mut request = served.post("/end", &cookie, "");
        *request.body_mut() = body.to_owned().into();
        served.send(request).expect(StatusCode::FORBIDDEN, "no valid token");
    }
    let mut request = served.post("/end", &cookie, "");
    request.headers_mut().insert("x-writgate-csrf", HeaderValue::from_static("0"));
    served.send(request).expect(StatusCode::FORBIDDEN, "no valid token");
    let mut request = served.post("/end", &cookie, "");
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    served.send(request).expect(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Not a form");
    let mut request = served.post("/end", &cookie, "");
    *request.body_mut() = vec![b'a'; 4 * 1024 * 1024 + 1].into();
    served.send(request).expect(StatusCode::PAYLOAD_TOO_LARGE, "at most 4 MiB");
    served.send(served.get("/", &cookie)).expect(StatusCode::OK, "Requests");
}

#[test]
fn what_changes_something_requires_a_post() {
    let served = Served::new();
    let cookie = served.open();
    served.send(served.get("/end", &cookie)).expect(StatusCode::METHOD_NOT_ALLOWED, "Another method");
    let mut delete = served.post("/end", &cookie, "");
    *delete.method_mut() = Method::DELETE;
    served.send(delete).expect(StatusCode::METHOD_NOT_ALLOWED, "Another method");
    served.send(served.get("/", &cookie)).expect(StatusCode::OK, "Requests");
}

#[test]
fn every_answer_forbids_frames_scripts_of_others_and_caches() {
    let served = Served::new();
    let cookie = served.open();
    for answer in [
        served.send(served.get("/", &cookie)),
        served.send(get("/", "")),
        served.send(served.get("/nothing", &cookie)).expect(StatusCode::NOT_FOUND, "no page at this address"),
        served.send(get("/open", "")),
    ] {
        let policy = answer.header("content-security-policy");
        for rule in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.split("; ").any(|found| found == rule), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            // Another port is another origin, so it does not learn the prefix of an address that leads to it.
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), value);
        }
        for inline in ["<style", "style=", "onclick", "onload", "<script>", "javascript:", "http://", "https://"] {
            assert!(!answer.text.contains(inline), "{inline}: {}", answer.text);
        }
    }
}

#[test]
fn files_of_the_page_are_named_by_their_digest_and_loaded_with_it() {
    let served = Served::new();
    let page = served.send(served.get("/", &served.open())).text;
    let address =
        page.split('"').find(|word| word.starts_with("/assets/console-") && word.strip_suffix(".js").is_some());
    let address = address.expect("a script");
    let script = served.send(get(address, "")).expect(StatusCode::OK, "follow(list)");
    assert!(script.header("cache-control").contains("immutable"));
    assert_eq!(page.matches("integrity=\"sha256-").count(), 2);
    let other = address.replace(".js", "0.js");
    served.send(get(&other, "")).expect(StatusCode::NOT_FOUND, "no such file");
}

#[test]
fn a_session_that_nobody_uses_ends_and_forgets_the_passphrase() {
    let mut short = settings();
    short.idle_timeout = Duration::from_millis(1500);
    let served = Served::with(short);
    let cookie = served.open();
    served.console.session.keep_passphrase("secret".to_owned().into());
    std::thread::sleep(Duration::from_secs(1));
    served.send(served.get("/", &cookie)).expect(StatusCode::OK, "Requests");
    std::thread::sleep(Duration::from_secs(1));
    // The script's own requests are no use.
    served.send(served.get("/live/requests?after=0", &cookie)).expect(StatusCode::OK, "");
    std::thread::sleep(Duration::from_secs(1));
    served.send(served.get("/", &cookie)).expect(StatusCode::UNAUTHORIZED, "Nobody used the console for some time");
    assert!(served.console.session.passphrase().is_none());
    let next = served.open();
    served.send(served.get("/", &cookie)).expect(StatusCode::UNAUTHORIZED, "closed to this browser");
    served.send(served.get("/", &next)).expect(StatusCode::OK, "Requests");
}

#[test]
fn listens_on_loopback_only_and_says_if_the_port_is_taken() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listeners = listen::bind(0).await.expect("a free port");
        assert!(listeners.addresses().all(|address| address.ip().is_loopback()));
        let taken = listen::bind(listeners.port).await.map(|_| ()).expect_err("the port is taken");
        assert!(taken.to_string().contains("pass another --port"), "{taken}");
    });
}
