//! The practice Org over loopback, as a client sees it: statuses, messages, credentials, faults,
//! and who may ask.
//!
//! Rules that need no connection are tested beside the code. `tests/cli/browser.rs` tests the pages
//! in a browser.

use std::time::{Duration, SystemTime};

use mfa_optout::testing::sandbox::{Faults, Sandbox, SandboxOptions};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

const OPT_OUT: &str = r#"{"mfaOptOut": true}"#;
const LOG_IN: &str = r#"{"email":"admin@example.com","password":"sandbox-password","selectedOrg":1,"client":"core-client"}"#;

/// A running practice Org and somebody who talks to it.
struct Practice {
    org: Sandbox,
    client: Client,
}

impl Practice {
    async fn start(options: SandboxOptions) -> Self {
        // Fails where another test of this process was faster, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self {
            org: Sandbox::start(options).await.unwrap(),
            client,
        }
    }

    async fn with_faults(faults: Faults) -> Self {
        Self::start(SandboxOptions {
            faults,
            ..SandboxOptions::default()
        })
        .await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.org.address()))
    }

    /// A PUT without credentials.
    fn bare_put(&self, id: &str, body: &str) -> RequestBuilder {
        self.request(Method::PUT, &format!("/user/users/{id}/membership"))
            .header("content-type", "application/json")
            .body(body.to_owned())
    }

    async fn put(&self, id: &str, body: &str) -> Response {
        self.bare_put(id, body)
            .header("x-api-key", "sandbox-key")
            .send()
            .await
            .unwrap()
    }

    async fn log_in(&self, body: &str) -> Response {
        let request = self
            .request(Method::POST, "/user/authenticate")
            .header("content-type", "application/json");
        request.body(body.to_owned()).send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }
}

async fn json_of(response: Response) -> Value {
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

/// The status, and the message that has to come with it.
async fn problem(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body = json_of(response).await;
    let message = body["message"].as_str().unwrap();
    assert!(!message.is_empty());
    (status, message.to_owned())
}

async fn problem_status(response: Response) -> u16 {
    problem(response).await.0
}

#[tokio::test]
async fn put_changes_the_member_and_answers_204_without_a_body() {
    let practice = Practice::start(SandboxOptions::default()).await;
    let answer = practice.put("1732", OPT_OUT).await;
    assert_eq!(answer.status(), 204);
    assert_eq!(answer.bytes().await.unwrap().len(), 0);

    let members = practice.org.members();
    assert_eq!(members.len(), 1);
    assert_eq!(
        (members[0].id, members[0].mfa_opt_out, members[0].puts),
        (1_732, true, 1)
    );
    let seen = json_of(practice.get("/_sandbox/members").await).await;
    assert_eq!(seen[0]["id"], 1_732);
    assert_eq!(seen[0]["mfaOptOut"], true);
    assert_eq!(seen[0]["puts"], 1);
    practice.org.stop().await;
}

#[tokio::test]
async fn put_keeps_the_fields_it_leaves_out() {
    let practice = Practice::start(SandboxOptions::default()).await;
    let before = json_of(practice.get("/_sandbox/members?id=7").await).await;
    practice
        .put("7", r#"{"firstName": "Zoë", "isAdmin": true}"#)
        .await;
    practice.put("7", OPT_OUT).await;
    let after = json_of(practice.get("/_sandbox/members?id=7").await).await;
    assert_eq!(after[0]["firstName"], "Zoë");
    assert_eq!(after[0]["isAdmin"], true);
    assert_eq!(after[0]["mfaOptOut"], true);
    for field in ["lastName", "email", "role"] {
        assert_eq!(after[0][field], before[0][field], "{field}");
    }
}

#[tokio::test]
async fn put_with_an_invalid_body_answers_400_and_changes_nothing() {
    let practice = Practice::start(SandboxOptions::default()).await;
    for body in [
        "",
        "{",
        "[]",
        "[true]",
        "true",
        r#"{"mfaOptOut": "true"}"#,
        r#"{"mfaOptOut": null}"#,
        r#"{"mfa": true}"#,
    ] {
        assert_eq!(
            problem_status(practice.put("1", body).await).await,
            400,
            "{body}"
        );
    }
    let member = &practice.org.members()[0];
    assert_eq!(
        (member.puts, member.changes, member.mfa_opt_out),
        (8, 0, false)
    );
}

#[tokio::test]
async fn put_with_a_body_of_another_type_or_too_long_is_refused() {
    let practice = Practice::start(SandboxOptions::default()).await;
    let put = practice
        .request(Method::PUT, "/user/users/1/membership")
        .header("x-api-key", "sandbox-key");
    assert_eq!(
        problem_status(put.body(OPT_OUT).send().await.unwrap()).await,
        415
    );
    let long = format!("{{\"firstName\": \"{}\"}}", "x".repeat(70_000));
    assert_eq!(problem_status(practice.put("1", &long).await).await, 413);
    assert_eq!(practice.org.members()[0].changes, 0);
}

#[tokio::test]
async fn put_for_an_invalid_id_answers_400_and_for_an_unknown_one_404() {
    let practice = Practice::start(SandboxOptions::default()).await;
    for id in [
        "ada",
        "0",
        "01",
        "-1",
        "+1",
        "1.0",
        "9223372036854775808",
        "%20",
        "%FF",
        "%FF%00",
    ] {
        assert_eq!(
            problem_status(practice.put(id, OPT_OUT).await).await,
            400,
            "{id}"
        );
    }
    for id in ["404", "12404", "20001", "9223372036854775807"] {
        assert_eq!(
            problem_status(practice.put(id, OPT_OUT).await).await,
            404,
            "{id}"
        );
    }
    assert!(practice.org.members().is_empty());
    assert_eq!(practice.org.stats().puts, 14);
}

#[tokio::test]
async fn wrong_key_answers_401_and_no_credentials_403() {
    let practice = Practice::start(SandboxOptions::default()).await;
    let wrong = practice
        .bare_put("1", OPT_OUT)
        .header("x-api-key", "guess")
        .send()
        .await
        .unwrap();
    assert_eq!(problem_status(wrong).await, 401);
    let other = practice
        .bare_put("1", OPT_OUT)
        .header("authorization", "Basic eDp5")
        .send()
        .await
        .unwrap();
    assert_eq!(problem_status(other).await, 401);
    let none = practice.bare_put("1", OPT_OUT).send().await.unwrap();
    assert_eq!(problem_status(none).await, 403);
    assert_eq!(practice.org.stats().refused, 3);
    assert_eq!(practice.org.members()[0].changes, 0);
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "what the server says is held against the real clock"
)]
async fn session_token_is_accepted_and_expires_in_15_minutes() {
    let practice = Practice::start(SandboxOptions::default()).await;
    let session = json_of(practice.log_in(LOG_IN).await).await;
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let left = session["expiresAt"].as_u64().unwrap() - now;
    assert!((840..=900).contains(&left), "{left}");
    let bearer = format!("bearer {}", session["token"].as_str().unwrap());
    let put = practice
        .bare_put("1", OPT_OUT)
        .header("authorization", bearer)
        .send()
        .await
        .unwrap();
    assert_eq!(put.status(), 204);
}

#[tokio::test]
async fn expired_token_answers_401() {
    let options = SandboxOptions {
        token_life: Duration::ZERO,
        ..SandboxOptions::default()
    };
    let practice = Practice::start(options).await;
    let session = json_of(practice.log_in(LOG_IN).await).await;
    let bearer = format!("bearer {}", session["token"].as_str().unwrap());
    let put = practice
        .bare_put("1", OPT_OUT)
        .header("authorization", bearer)
        .send()
        .await
        .unwrap();
    let (status, message) = problem(put).await;
    assert_eq!(status, 401);
    assert!(message.contains("expired"), "{message}");
}

#[tokio::test]
async fn login_is_refused_for_the_part_that_is_wrong() {
    let practice = Practice::start(SandboxOptions::default()).await;
    for (from, to, status) in [
        ("sandbox-password", "guess", 401),
        ("admin@", "who@", 401),
        (":1,", ":2,", 404),
        ("core-client", "other", 400),
        (":1,", ":1e30,", 404),
        (":1,", ":1.5,", 400),
        (":1,", ":-1,", 400),
        (":1,", ":\"1\",", 400),
        ("selectedOrg", "org", 400),
    ] {
        assert_eq!(
            problem_status(practice.log_in(&LOG_IN.replace(from, to)).await).await,
            status,
            "{to}"
        );
    }
    assert_eq!(practice.org.stats().log_ins, 9);
}

#[tokio::test]
async fn login_accepts_every_json_form_of_the_orgs_number() {
    let practice = Practice::start(SandboxOptions::default()).await;
    for number in [":1,", ":1.0,", ":1e0,"] {
        let answer = practice.log_in(&LOG_IN.replace(":1,", number)).await;
        assert_eq!(answer.status(), 200, "{number}");
    }
}

#[tokio::test]
async fn requests_above_the_rate_limit_answer_429_with_retry_after() {
    let practice = Practice::with_faults(Faults {
        rate_limit: Some(0),
        ..Faults::default()
    })
    .await;
    let answer = practice.put("1", OPT_OUT).await;
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(problem_status(answer).await, 429);
    assert_eq!(practice.org.stats().throttled, 1);
    assert_eq!(practice.org.members()[0].puts, 1);
}

#[tokio::test]
async fn injected_errors_change_nothing() {
    let practice = Practice::with_faults(Faults {
        error_percent: 100.0,
        ..Faults::default()
    })
    .await;
    let mut seen = Vec::new();
    for _ in 0..40 {
        seen.push(problem_status(practice.put("1", OPT_OUT).await).await);
    }
    assert!(
        [500, 502, 503, 504]
            .iter()
            .all(|status| seen.contains(status)),
        "{seen:?}"
    );
    assert_eq!(practice.org.stats().errors, 40);
    assert!(!practice.org.members()[0].mfa_opt_out);
}

#[tokio::test]
async fn outage_answers_503_without_retry_after_and_keeps_the_pages_up() {
    let outage = Some(Duration::ZERO..Duration::MAX);
    let practice = Practice::with_faults(Faults {
        outage,
        ..Faults::default()
    })
    .await;
    for answer in [
        practice.put("1", OPT_OUT).await,
        practice.log_in(LOG_IN).await,
    ] {
        assert!(!answer.headers().contains_key("retry-after"));
        assert_eq!(problem_status(answer).await, 503);
    }
    for path in [
        "/",
        "/members",
        "/members.csv",
        "/members.json",
        "/api/",
        "/_sandbox/members",
        "/_sandbox/stats",
    ] {
        assert_eq!(practice.get(path).await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn stats_count_api_calls_and_no_pages() {
    let practice = Practice::start(SandboxOptions::default()).await;
    practice.put("1", OPT_OUT).await;
    practice.put("404", OPT_OUT).await;
    practice.log_in(LOG_IN).await;
    practice.get("/members").await;
    let stats = json_of(practice.get("/_sandbox/stats").await).await;
    let busiest = stats["busiestSecond"].as_u64().unwrap();
    assert!((1..=3).contains(&busiest), "{busiest}");
    assert_eq!(
        stats,
        json!({"requests": 3, "puts": 2, "logIns": 1, "refused": 0, "throttled": 0, "errors": 0,
            "busiestSecond": busiest})
    );
}

#[tokio::test]
async fn other_host_names_answer_421() {
    let practice = Practice::start(SandboxOptions::default()).await;
    for host in [
        "example.com",
        "127.0.0.1.example.com",
        "localhost.example.com",
    ] {
        let put = practice
            .bare_put("1", OPT_OUT)
            .header("x-api-key", "sandbox-key")
            .header("host", host);
        assert_eq!(
            problem_status(put.send().await.unwrap()).await,
            421,
            "{host}"
        );
        let page = practice
            .request(Method::GET, "/members")
            .header("host", host)
            .send()
            .await
            .unwrap();
        assert_eq!(page.status(), 421, "{host}");
    }
    assert_eq!(practice.org.stats().requests, 0);
}

#[tokio::test]
async fn preflight_of_another_site_is_not_allowed() {
    let practice = Practice::start(SandboxOptions::default()).await;
    let preflight = practice
        .request(Method::OPTIONS, "/user/users/1/membership")
        .header("origin", "https://example.com")
        .header("access-control-request-method", "PUT");
    let answer = preflight.send().await.unwrap();
    assert_eq!(answer.status(), 405);
    assert!(
        answer
            .headers()
            .keys()
            .all(|name| !name.as_str().starts_with("access-control"))
    );
}

#[tokio::test]
async fn every_page_has_a_content_security_policy() {
    let practice = Practice::start(SandboxOptions::default()).await;
    for path in ["/", "/members", "/api/", "/nowhere"] {
        let policy = practice.get(path).await.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(policy.starts_with("default-src 'none';"), "{path}");
    }
}

#[tokio::test]
async fn openapi_document_describes_both_calls() {
    let practice = Practice::start(SandboxOptions::default()).await;
    let answer = practice.get("/api").await;
    assert!(answer.status().is_redirection());
    assert_eq!(answer.headers()["location"], "/api/");
    let document = json_of(practice.get("/api/openapi.json").await).await;
    let put = &document["paths"]["/user/users/{id}/membership"]["put"];
    assert_eq!(put["tags"], json!(["user"]));
    assert!(document["paths"]["/user/authenticate"]["post"].is_object());
    assert!(
        document["components"]["schemas"]["Membership"]["example"]
            .as_object()
            .unwrap()
            .len()
            > 3
    );
    assert_eq!(
        document["components"]["securitySchemes"]["apiKey"]["name"],
        "x-api-key"
    );
}

#[tokio::test]
async fn openapi_document_refers_to_nothing_that_it_does_not_hold() {
    let practice = Practice::start(SandboxOptions::default()).await;
    let text = practice
        .get("/api/openapi.json")
        .await
        .text()
        .await
        .unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let references: Vec<&str> = text
        .split("\"#")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(references.len() > 20, "{references:?}");
    for reference in references {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn openapi_document_describes_bodies_as_they_are_taken_and_given() {
    let practice = Practice::start(SandboxOptions::default()).await;
    let document = json_of(practice.get("/api/openapi.json").await).await;
    let schemas = &document["components"]["schemas"];
    let keys = |object: &serde_json::Value| -> Vec<String> {
        object.as_object().unwrap().keys().cloned().collect()
    };
    for name in ["Membership", "LogIn"] {
        let example = keys(&schemas[name]["example"]);
        assert_eq!(example, keys(&schemas[name]["properties"]), "{name}");
    }
    let example = schemas["Membership"]["example"].to_string();
    assert_eq!(practice.put("1732", &example).await.status(), 204);
    let answer = practice
        .log_in(&schemas["LogIn"]["example"].to_string())
        .await;
    let session = json_of(answer).await;
    assert_eq!(keys(&session), keys(&schemas["SessionToken"]["properties"]));
    let refusal = json_of(practice.put("0", OPT_OUT).await).await;
    assert_eq!(keys(&refusal), keys(&schemas["ErrorBody"]["properties"]));
    let members = json_of(practice.get("/members.json").await).await;
    assert_eq!(keys(&members[0]), keys(&schemas["Member"]["properties"]));
}

#[tokio::test]
async fn swagger_ui_and_the_files_that_it_loads_are_served() {
    let practice = Practice::start(SandboxOptions::default()).await;
    let page = practice.get("/api/").await.text().await.unwrap();
    let files: Vec<&str> = ["src=\"./", "href=\"./"]
        .into_iter()
        .flat_map(|start| page.split(start).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let answer = practice.get(&format!("/api/{file}")).await;
        assert_eq!(answer.status(), 200, "{file}");
        let kind = answer.headers()["content-type"].to_str().unwrap();
        let expected = match file.rsplit_once('.').unwrap().1 {
            "css" => "text/css",
            "js" => "text/javascript",
            _ => "image/png",
        };
        assert_eq!(kind, expected, "{file}");
        assert!(!answer.text().await.unwrap().is_empty(), "{file}");
    }
    for file in ["nothing.js", "package.json", "index"] {
        assert_eq!(
            practice.get(&format!("/api/{file}")).await.status(),
            404,
            "{file}"
        );
    }
}

#[tokio::test]
async fn openapi_document_names_every_status_that_both_calls_can_answer() {
    let practice = Practice::start(SandboxOptions::default()).await;
    let document = json_of(practice.get("/api/openapi.json").await).await;
    assert_eq!(document["servers"][0]["url"], "/");
    let own = [
        ("put", "/user/users/{id}/membership", "204"),
        ("post", "/user/authenticate", "200"),
    ];
    for (method, path, success) in own {
        let responses = &document["paths"][path][method]["responses"];
        let mut statuses: Vec<&str> = responses
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        statuses.retain(|status| *status != "403");
        let expected = [
            success, "400", "401", "404", "405", "413", "415", "421", "429", "500", "502", "503",
            "504",
        ];
        assert_eq!(statuses, expected, "{path}");
        for (status, name) in [("429", "TooManyRequests"), ("405", "MethodNotAllowed")] {
            let reference = format!("#/components/responses/{name}");
            assert_eq!(responses[status]["$ref"], reference, "{path}");
        }
    }
    let shared = &document["components"]["responses"];
    assert!(shared["TooManyRequests"]["headers"]["Retry-After"].is_object());
    assert!(shared["MethodNotAllowed"]["headers"]["Allow"].is_object());
    let client = &document["components"]["schemas"]["ClientName"];
    assert_eq!(client["enum"], json!(["core-client"]));
}

#[tokio::test]
async fn openapi_document_says_that_the_member_list_is_not_the_vendors() {
    let practice = Practice::start(SandboxOptions::default()).await;
    let document = json_of(practice.get("/api/openapi.json").await).await;
    let list = &document["paths"]["/members.json"]["get"];
    assert_eq!(list["tags"], json!(["practice Org only"]));
    let tags = document["tags"].as_array().unwrap();
    let tag = tags.iter().find(|tag| tag["name"] == "practice Org only");
    let description = tag.unwrap()["description"].as_str().unwrap();
    assert!(
        description.starts_with("Not part of the vendor's API"),
        "{description}"
    );
}

#[tokio::test]
async fn openapi_document_names_the_key_and_the_ids() {
    let practice = Practice::start(SandboxOptions {
        api_key: "another-key".to_owned(),
        members: 7..=90,
        ..SandboxOptions::default()
    })
    .await;
    let document = json_of(practice.get("/api/openapi.json").await).await;
    let description = document["info"]["description"].as_str().unwrap();
    assert!(
        description.contains("`another-key`") && description.contains("7 to 90"),
        "{description}"
    );
    let home = practice.get("/").await.text().await.unwrap();
    assert!(home.contains("<code>another-key</code>"), "{home}");
    assert!(home.contains("<b>7</b> to <b>90</b>"), "{home}");
}

#[tokio::test]
async fn member_files_list_every_member_once() {
    let practice = Practice::start(SandboxOptions {
        members: 1..=2_500,
        ..SandboxOptions::default()
    })
    .await;
    practice.put("1732", OPT_OUT).await;
    practice.put("5", r#"{"firstName": "A \"B\", C"}"#).await;
    let expected: Vec<u64> = (1..=2_500).filter(|id| id % 1_000 != 404).collect();

    let answer = practice.get("/members.json").await;
    assert_eq!(answer.headers()["content-type"], "application/json");
    let members = json_of(answer).await;
    let members = members.as_array().unwrap();
    let ids: Vec<u64> = members
        .iter()
        .map(|member| member["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, expected);
    assert_eq!(members[4]["firstName"], "A \"B\", C");
    let opted_out: Vec<&Value> = members
        .iter()
        .filter(|member| member["mfaOptOut"] == true)
        .collect();
    assert_eq!(opted_out.len(), 1);
    assert_eq!(opted_out[0]["email"], "user1732@example.com");

    let table = practice.get("/members.csv").await.text().await.unwrap();
    let mut table = csv::Reader::from_reader(table.as_bytes());
    assert_eq!(
        table.headers().unwrap(),
        &["user_id", "name", "email", "role", "mfa_opt_out"][..]
    );
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    let ids: Vec<u64> = rows.iter().map(|row| row[0].parse().unwrap()).collect();
    assert_eq!(ids, expected);
    assert_eq!((&rows[4][1], &rows[4][4]), ("A \"B\", C Almeida", "false"));
}

#[tokio::test]
async fn member_files_of_an_org_without_members_are_empty_lists() {
    #[expect(clippy::reversed_empty_ranges, reason = "an Org without members")]
    let members = 2..=1;
    let practice = Practice::start(SandboxOptions {
        members,
        ..SandboxOptions::default()
    })
    .await;
    assert_eq!(
        json_of(practice.get("/members.json").await).await,
        json!([])
    );
    let table = practice.get("/members.csv").await.text().await.unwrap();
    assert_eq!(table, "user_id,name,email,role,mfa_opt_out\n");
}

#[tokio::test]
async fn invalid_queries_answer_json_or_the_first_page() {
    let practice = Practice::start(SandboxOptions::default()).await;
    assert_eq!(
        problem_status(practice.get("/_sandbox/members?id=ada").await).await,
        400
    );
    let page = practice.get("/members?show=nobody").await;
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("user-1\""));
}

#[tokio::test]
async fn unknown_path_answers_404_and_wrong_method_405() {
    let practice = Practice::start(SandboxOptions::default()).await;
    assert_eq!(problem_status(practice.get("/user/users").await).await, 404);
    let answer = practice.get("/user/users/1/membership").await;
    assert_eq!(answer.headers()["allow"], "PUT");
    assert_eq!(problem_status(answer).await, 405);
}

#[tokio::test]
async fn stopped_sandbox_refuses_connections() {
    let practice = Practice::start(SandboxOptions::default()).await;
    let address = practice.org.address();
    assert_eq!(practice.put("1", OPT_OUT).await.status(), 204);
    practice.org.stop().await;
    assert!(
        practice
            .client
            .get(address)
            .send()
            .await
            .unwrap_err()
            .is_connect()
    );
}

#[tokio::test]
async fn start_fails_if_the_port_is_taken() {
    let practice = Practice::start(SandboxOptions::default()).await;
    let port = practice
        .org
        .address()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let second = Sandbox::start(SandboxOptions {
        port,
        ..SandboxOptions::default()
    })
    .await;
    assert_eq!(
        second.err().map(|error| error.kind()),
        Some(std::io::ErrorKind::AddrInUse)
    );
}
