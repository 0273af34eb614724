//! The program itself: its output, its exit codes, and what it never prints.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use vega_testing::{Reply, TestServer};

const KEY: &str = "vk_7Gh2kQ9XbT4m_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1EG2IT";
const SECRET: &str = "003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf";
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../access/vega.json");

struct Ran {
    code: i32,
    out: String,
    err: String,
}

/// Runs `vega` with these variables and nothing on standard input. No output may contain the key's secret.
fn vega(variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vega"));
    command.args(arguments).stdin(Stdio::null()).env_remove("VEGA_URL").env_remove("VEGA_TOKEN");
    command.envs(variables.iter().copied());
    let ran = ran(command.output().unwrap());
    if !arguments.contains(&"--show-key") {
        assert!(!format!("{}{}", ran.out, ran.err).contains(SECRET), "{arguments:?}");
    }
    ran
}

fn ran(output: Output) -> Ran {
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(!err.contains("panicked"), "{err}");
    Ran { code: output.status.code().unwrap(), out, err }
}

/// Runs `vega` against a server with these replies. Returns the requests as well.
async fn against(replies: Vec<Reply>, token: &'static str, arguments: &'static [&'static str]) -> (Ran, Vec<String>) {
    let server = TestServer::start_in_turn(replies, Reply::Close).await;
    let url = server.url().to_owned();
    let run = move || vega(&[("VEGA_URL", &url), ("VEGA_TOKEN", token)], arguments);
    let ran = tokio::task::spawn_blocking(run).await.unwrap();
    (ran, server.requests())
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn jwt(claims: &Value) -> String {
    use base64::Engine as _;
    let encode = |text: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.c2lnbmF0dXJl", encode(json!({ "alg": "RS256" }).to_string()), encode(claims.to_string()))
}

#[test]
fn a_decision_names_the_rule_and_sets_the_exit_code() {
    let can = |arguments: &[&str]| vega(&[], &[&["can", "--rules", RULES][..], arguments].concat());
    let allowed = can(&["GET", "/v1/projects", "--groups", "user"]);
    assert_eq!((allowed.code, allowed.err.as_str()), (0, ""));
    assert_eq!(allowed.out, "yes: the rule \"GET /v1/projects\" admits the caller (jwt in the groups user)\n");
    for (arguments, text) in [
        (
            &["GET", "/v1/admin/projects", "--groups", "user"][..],
            "no: 403, the rule \"GET /v1/admin/projects\" doesn't",
        ),
        (
            &["DELETE", "/v1/api-keys/{id}", "--groups", "root", "--key"],
            "no: 403, the rule \"* /v1/api-keys/*\" doesn't",
        ),
        (&["GET", "/v1/nowhere", "--groups", "root"], "no: 403, no rule applies"),
        (&["GET", "/v1//projects", "--groups", "root"], "no: 403, no rule applies"),
        (
            &["GET", "/v1/scopes", "--groups", "user", "--key", "--scopes", "projects:read"],
            "no: 403, the rule \"GET /v1/scopes\" admits the groups, but none",
        ),
    ] {
        let denied = can(arguments);
        assert!(denied.code == 1 && denied.out.starts_with(text), "{arguments:?}: {}", denied.out);
    }
    let json: Value = serde_json::from_str(&can(&["get", "/v1/projects", "--groups", "user", "--json"]).out).unwrap();
    assert_eq!((&json["allowed"], &json["rule"]), (&json!(true), &json!("GET /v1/projects")));
}

#[tokio::test]
async fn a_keys_decision_needs_its_networks_and_scopes() {
    let record =
        json!({ "id": "7Gh2kQ9XbT4m", "groups": ["user", "other"], "scopes": ["read"], "cidrs": ["203.0.113.0/24"] });
    for (arguments, code, text) in [
        (&["can", "GET", "/v1/projects", "--rules", RULES, "--from", "203.0.113.7"][..], 0, "yes: "),
        (
            &["can", "GET", "/v1/projects", "--rules", RULES, "--from", "192.0.2.1"],
            1,
            "no: 401, the key can't be used from 192",
        ),
        (&["can", "POST", "/v1/projects", "--rules", RULES, "--from", "203.0.113.7"], 1, "no: 403"),
        (&["can", "GET", "/v1/projects", "--rules", RULES], 2, ""),
    ] {
        let (ran, requests) = against(vec![Reply::ok(&record)], KEY, arguments).await;
        assert!(ran.code == code && ran.out.starts_with(text), "{arguments:?}: {} {}", ran.out, ran.err);
        assert!(requests[0].starts_with("GET /v1/api-keys/self ") && requests[0].contains(KEY), "{requests:?}");
    }
}

#[test]
fn invalid_rules_are_reported_with_their_lines() {
    let folder = folder("rules");
    let file = folder.join("broken.json");
    fs::write(&file, "{ \"rules\": [\n{ \"route\": \"GET /v1\", \"grups\": \"any\" }\n] }").unwrap();
    let path = file.to_str().unwrap();
    let checked = vega(&[], &["rules", "check", "--rules", path]);
    assert!(checked.code == 1 && checked.out.starts_with(&format!("{path}:2: ")), "{}", checked.out);
    assert_eq!(vega(&[], &["rules", "check", "--rules", RULES]).code, 0);
    for arguments in
        [&["rules", "check", "--rules", "/nowhere.json"][..], &["rules", "test", "/nowhere", "--rules", RULES]]
    {
        let missing = vega(&[], arguments);
        assert_eq!((missing.code, missing.err.lines().count()), (2, 1), "{}", missing.err);
    }
}

#[test]
fn a_credential_that_shows_its_own_cause_is_not_sent() {
    let id = jwt(&json!({ "token_use": "id", "exp": 4_000_000_000_i64 }));
    let expired = jwt(&json!({ "token_use": "access", "exp": 1 }));
    let early = jwt(&json!({ "token_use": "access", "iat": 4_000_000_000_i64, "exp": 4_000_000_100_i64 }));
    let mistyped = KEY.replacen("EG2IT", "EG2IU", 1);
    for (token, code) in [
        (id.as_str(), "token_use"),
        (&expired, "expired"),
        (&early, "not_yet_valid"),
        (&mistyped, "mistyped_key"),
        ("abc", "not_a_token"),
    ] {
        // A request to this port would fail with code 2.
        let ran = vega(&[("VEGA_TOKEN", token), ("VEGA_URL", "http://127.0.0.1:1")], &["whoami", "--json"]);
        let json: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!((ran.code, json["error"].as_str().unwrap()), (1, code));
    }
}

#[tokio::test]
async fn refusals_are_causes_and_outages_are_undetermined() {
    let problem = |status: u16, error: &str| {
        Reply::status(format!("{status} X"), json!({ "status": status, "error": error, "detail": "Why." }))
    };
    for (status, error, code) in [
        (401, "invalid_token", 1),
        (403, "forbidden", 1),
        (503, "temporarily_unavailable", 2),
        (429, "too_many_requests", 2),
    ] {
        let (ran, _) = against(vec![problem(status, error)], KEY, &["whoami"]).await;
        let text = format!("{status} {error}: Why.");
        assert_eq!(
            (ran.code, format!("{}{}", ran.out, ran.err).contains(&text)),
            (code, true),
            "{}{}",
            ran.out,
            ran.err
        );
    }
    for reply in
        [Reply::Close, Reply::ok("<html>"), Reply::status("404 Not Found", "<html>"), Reply::status("302 Found", "")]
    {
        let (ran, _) = against(vec![reply], KEY, &["whoami"]).await;
        assert!(ran.code == 2 && ran.err.lines().count() == 1, "{} {}", ran.code, ran.err);
    }
}

#[test]
fn what_cannot_be_found_out_is_one_sentence_and_code_2() {
    for (variables, arguments) in [
        (&[][..], &["whoami"][..]),
        (&[("VEGA_TOKEN", KEY)], &["whoami"]),
        (&[("VEGA_TOKEN", KEY)], &["whoami", "--url", "http://api.example.com"]),
        (&[("VEGA_TOKEN", KEY)], &["whoami", "--url", "nonsense"]),
        (&[("VEGA_TOKEN", KEY)], &["whoami", "--url", "http://127.0.0.1:1"]),
        (&[("VEGA_TOKEN", "a b")], &["whoami", "--url", "https://api.example.com"]),
        (&[], &["scan", "/nowhere"]),
        (&[], &["can", "GET", "/v1/projects", "--rules", RULES, "--groups", "a b"]),
    ] {
        let ran = vega(variables, arguments);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.lines().count()), (2, "", 1), "{arguments:?}: {}", ran.err);
        let ran = vega(variables, &[arguments, &["--json"]].concat());
        let json: Value = serde_json::from_str(&ran.out).unwrap();
        assert!(ran.code == 2 && json["error"].is_string() && ran.err.is_empty());
    }
}

#[tokio::test]
async fn a_new_key_is_printed_or_written_only_on_request() {
    let created = json!({ "id": "7Gh2kQ9XbT4m", "name": "ci", "key": KEY });
    let token: &'static str = jwt(&json!({ "token_use": "access", "exp": 4_000_000_000_i64 })).leak();
    assert_eq!(vega(&[("VEGA_TOKEN", token)], &["keys", "create", "ci"]).code, 2, "the key has to go somewhere");
    let (ran, requests) =
        against(vec![Reply::ok(&created)], token, &["keys", "create", "ci", "--scopes", "read", "--show-key"]).await;
    assert!(ran.code == 0 && ran.out.contains(KEY), "{}", ran.err);
    assert!(
        requests[0].starts_with("POST /v1/api-keys ") && requests[0].contains(r#"{"name":"ci","scopes":["read"]}"#)
    );
    assert!(requests[0].contains("idempotency-key: "));

    let folder = folder("key-file");
    let file: &'static str = folder.join("key").to_str().unwrap().to_owned().leak();
    let arguments: &'static [&'static str] = vec!["keys", "rotate", "7Gh2kQ9XbT4m", "--key-file", file].leak();
    let refused = Reply::status("409 Conflict", json!({ "error": "key_rotated", "detail": "" }));
    assert_eq!(against(vec![refused], token, arguments).await.0.code, 1);
    assert!(!Path::new(file).exists(), "a refused request leaves no file behind");
    let (ran, requests) = against(vec![Reply::ok(&created)], token, arguments).await;
    assert!(ran.code == 0 && requests[0].starts_with("POST /v1/api-keys/7Gh2kQ9XbT4m/rotate "), "{}", ran.err);
    assert_eq!(fs::read_to_string(file).unwrap().trim(), KEY);
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(file).unwrap().permissions()) & 0o777, 0o600);
    // An existing file is kept, and nothing is created.
    let (ran, requests) = against(vec![Reply::ok(&created)], token, arguments).await;
    assert_eq!((ran.code, requests.len()), (2, 0));
}

#[tokio::test]
async fn keys_are_listed_page_by_page_and_changed() {
    let token: &'static str = jwt(&json!({ "token_use": "access", "exp": 4_000_000_000_i64 })).leak();
    let page = |id: &str, next: Value| {
        Reply::ok(json!({ "items": [{ "id": id, "name": "a\u{1b}[31mb" }], "next_cursor": next }))
    };
    let pages = vec![page("000000000001", json!("c/1")), page("000000000002", Value::Null)];
    let (ran, requests) = against(pages, token, &["keys", "list", "--status", "active"]).await;
    assert!(ran.code == 0 && ran.out.contains("000000000001") && ran.out.contains("000000000002"), "{}", ran.out);
    assert!(!ran.out.contains('\u{1b}'), "a name can't control the terminal");
    assert!(requests[1].starts_with("GET /v1/api-keys?status=active&limit=100&cursor=c%2F1 "), "{requests:?}");
    for (arguments, request) in [
        (&["keys", "show", "7Gh2kQ9XbT4m"][..], "GET /v1/api-keys/7Gh2kQ9XbT4m "),
        (&["keys", "disable", "7Gh2kQ9XbT4m", "--reason", "a b"], "PATCH /v1/api-keys/7Gh2kQ9XbT4m?reason=a%20b "),
        (&["keys", "enable", "7Gh2kQ9XbT4m"], "PATCH /v1/api-keys/7Gh2kQ9XbT4m "),
        (&["keys", "revoke", "7Gh2kQ9XbT4m"], "DELETE /v1/api-keys/7Gh2kQ9XbT4m "),
    ] {
        let (ran, requests) = against(vec![Reply::ok(json!({ "id": "7Gh2kQ9XbT4m" }))], token, arguments).await;
        assert!(ran.code == 0 && requests[0].starts_with(request), "{arguments:?}: {requests:?}");
    }
}

/// Each fault is introduced alone, and has its own diagnosis.
#[tokio::test]
async fn the_doctor_names_each_fault_at_the_first_attempt() {
    let pool = "us-west-1_Own";
    let config = |change: Value| {
        let mut config = json!({ "provider": "cognito", "region": "us-west-1", "user_pool_id": pool, "app_client_id": "web",
            "revocation_seconds": 0, "address": "192.0.2.1" });
        config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        Reply::ok(config)
    };
    let healthy = || config(json!({}));
    let token = |change: Value| -> &'static str {
        let mut claims = json!({ "token_use": "access", "exp": 4_000_000_000_i64, "iat": 1, "client_id": "web",
            "iss": format!("https://cognito-idp.us-west-1.amazonaws.com/{pool}") });
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        jwt(&claims).leak()
    };
    let refused = |status: u16| Reply::status(format!("{status} X"), json!({ "error": "x", "detail": "" }));
    let me = || Reply::ok(json!({ "authenticated_by": "jwt", "groups": ["user"] }));
    let issuer = |issuer: &str| token(json!({ "iss": issuer }));
    let good = token(json!({}));
    let doctor: &'static [&'static str] = &["doctor", "--json"];
    let of_route: fn(&'static str) -> &'static [&'static str] =
        |path| vec!["doctor", "--json", "--rules", RULES, "--path", path].leak();
    let skewed = Reply::status(
        "200 OK\r\ndate: Tue, 15 Nov 1994 08:12:31 GMT",
        json!({ "provider": "cognito", "revocation_seconds": 0 }),
    );
    let mistyped: &'static str = KEY.replacen("EG2IT", "EG2IU", 1).leak();
    let mut seen = std::collections::BTreeSet::new();
    for (replies, token, arguments, code) in [
        (vec![Reply::Close, Reply::Close], good, doctor, "api_unreachable"),
        (vec![refused(404)], good, doctor, "not_vega"),
        (vec![refused(503)], good, doctor, "api_unavailable"),
        (vec![config(json!({ "revocation_seconds": 300 })), me()], good, doctor, "caching"),
        (vec![skewed, me()], good, doctor, "clock"),
        (vec![healthy()], mistyped, doctor, "credential"),
        (vec![healthy(), refused(401)], KEY, doctor, "key_rejected"),
        (vec![healthy(), refused(403)], good, doctor, "no_rule"),
        (vec![healthy(), refused(503)], good, doctor, "authorizer_unavailable"),
        (vec![healthy(), refused(401)], good, doctor, "token_rejected"),
        (vec![healthy(), refused(401)], token(json!({ "client_id": "other" })), doctor, "wrong_client"),
        (vec![healthy(), refused(401)], issuer("vega:custom"), doctor, "wrong_issuer"),
        (
            vec![healthy(), refused(401)],
            issuer("https://cognito-idp.us-west-1.amazonaws.com/us-west-1_Other"),
            doctor,
            "wrong_pool",
        ),
        (
            vec![healthy(), refused(401)],
            issuer("https://cognito-idp.us-east-1.amazonaws.com/us-west-1_Own"),
            doctor,
            "wrong_region",
        ),
        (
            vec![healthy(), refused(401)],
            issuer("https://issuer-cognito-idp.us-west-1.amazonaws.com/us-west-1_Own"),
            doctor,
            "issuer_type",
        ),
        (vec![config(json!({ "provider": "custom" })), refused(401)], good, doctor, "wrong_stage"),
        (vec![healthy(), me(), me()], good, of_route("/v1/admin/projects"), "route"),
    ] {
        let (ran, _) = against(replies, token, arguments).await;
        let checks: Value = serde_json::from_str(&ran.out).unwrap_or_default();
        let causes: Vec<_> = checks.as_array().unwrap().iter().filter(|check| check["result"] == "cause").collect();
        assert_eq!((ran.code, causes.len()), (1, 1), "{code}: {} {}", ran.out, ran.err);
        assert_eq!(causes[0]["code"], code, "{}", ran.out);
        assert!(causes[0]["remedy"].is_string() && seen.insert(code), "{code}");
    }
    for path in ["/v1/projects", "/v1/auth/me"] {
        let (ran, _) = against(vec![healthy(), me(), me()], good, of_route(path)).await;
        assert!(ran.code == 0 && !ran.out.contains("cause"), "{}", ran.out);
    }
}

fn git(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(["-c", "user.name=t", "-c", "user.email=t@example.com"]).args(arguments);
    assert!(command.output().unwrap().status.success(), "{arguments:?}");
}

#[tokio::test]
async fn a_key_is_found_in_files_and_in_history_and_reported() {
    let folder = folder("scan");
    git(&folder, &["init", "-q"]);
    fs::write(folder.join("config"), format!("a\nkey = {KEY}\n")).unwrap();
    git(&folder, &["add", "."]);
    git(&folder, &["commit", "-qm", "first"]);
    let path: &'static str = folder.to_str().unwrap().to_owned().leak();
    let found = vega(&[], &["scan", path, "--json"]);
    let json: Value = serde_json::from_str(&found.out).unwrap();
    let places = json["keys"][0]["places"].as_array().unwrap();
    assert_eq!((found.code, &json["keys"][0]["id"], places.len()), (1, &json!("7Gh2kQ9XbT4m"), 2), "{}", found.out);
    assert!(places[0].as_str().unwrap().ends_with("/config:2"));
    assert!(places[1].as_str().unwrap().starts_with("commit ") && places[1].as_str().unwrap().ends_with(" config:2"));

    // Deleted from the files, but not from the history.
    git(&folder, &["rm", "-q", "config"]);
    git(&folder, &["commit", "-qm", "second"]);
    assert_eq!(vega(&[], &["scan", path, "--no-history"]).code, 0);
    assert_eq!(vega(&[], &["scan", path]).code, 1);
    let arguments: &'static [&'static str] = vec!["scan", path, "--report"].leak();
    let (ran, requests) = against(vec![Reply::status("202 Accepted", "")], "", arguments).await;
    assert!(ran.code == 1 && ran.out.contains("were reported"), "{} {}", ran.out, ran.err);
    assert!(requests[0].starts_with("POST /v1/leaked-keys ") && requests[0].contains(KEY));
    let (ran, _) = against(vec![Reply::Close], "", arguments).await;
    assert_eq!(ran.code, 2, "a report that may not have arrived is no success");
}

#[test]
fn a_broken_object_is_named_and_not_taken_for_no_key() {
    let folder = folder("broken");
    git(&folder, &["init", "-q"]);
    fs::write(folder.join("file"), "text").unwrap();
    git(&folder, &["add", "."]);
    git(&folder, &["commit", "-qm", "first"]);
    let path = folder.to_str().unwrap();
    assert_eq!(vega(&[], &["scan", path]).code, 0);
    let objects = folder.join(".git/objects");
    let parts = fs::read_dir(&objects).unwrap().map(|entry| entry.unwrap().path());
    for part in parts.filter(|path| path.file_name().unwrap().len() == 2) {
        for object in fs::read_dir(part).unwrap().map(|entry| entry.unwrap().path()) {
            let _ = fs::remove_file(&object);
            fs::write(object, "broken").unwrap();
        }
    }
    let scanned = vega(&[], &["scan", path]);
    assert!(scanned.code == 2 && scanned.err.contains("git fsck"), "{} {}", scanned.code, scanned.err);
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vega"));
    let mut child = command.args(["man"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = ran(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn the_manual_page_and_completions_name_every_command() {
    for arguments in [&["man"][..], &["completions", "bash"], &["completions", "zsh"], &["completions", "fish"]] {
        let ran = vega(&[], arguments);
        for command in ["can", "rules", "whoami", "keys", "scan"] {
            assert!(ran.code == 0 && ran.out.contains(command), "{arguments:?} {command}");
        }
    }
}

#[test]
fn standard_input_is_read_on_request() {
    use std::io::Write as _;
    let mut command = Command::new(env!("CARGO_BIN_EXE_vega"));
    command.args(["whoami", "--token-stdin", "--json"]).env_remove("VEGA_TOKEN");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(KEY.replacen("EG2IT", "EG2IU\n", 1).as_bytes()).unwrap();
    let ran = ran(child.wait_with_output().unwrap());
    assert!(ran.code == 1 && ran.out.contains("mistyped_key"), "{} {}", ran.out, ran.err);
}
