//! Misbehaviors of what the answer says: documents that are none, indices, counts, numbers, echoes.

use serde_json::json;

use crate::server::{Act, answer};
use crate::trial::{ALL, Call, KEY, Trial, run};

const INVALID: &[&str] = &["invalid_response"];

fn body(text: impl AsRef<[u8]>) -> Act {
    // With a type: a stream is then read whole, as any answer that is none.
    Act::Answer(answer(200, "content-type: application/json\r\n", text))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_are_none_are_invalid_responses() {
    let (deep, close) = ("[".repeat(10_000), "]".repeat(10_000));
    let cases: Vec<(&str, Act)> = vec![
        ("html", Act::Answer(answer(200, "content-type: text/html\r\n", "<html>fine</html>"))),
        ("nothing", body("")),
        ("null", body("null")),
        ("a number", body("42")),
        ("a string", body("\"data\"")),
        ("an empty object", body("{}")),
        ("nested 10,000 deep", body(format!("{{\"data\":{deep}"))),
        ("nested 10,000 deep beside the data", body(format!("{{\"x\":{deep}{close}}}"))),
        ("invalid utf-8", body(b"{\"data\":\"\xff\xfe\",\"rankings\":\"\xc3\"}")),
        ("two documents", body("{}{}")),
        ("a byte order mark", body("\u{feff}[]")),
        ("a NUL", body("{\"data\":[]\0}")),
        ("a document cut by its length", Act::Close(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/json\r\ncontent-length: 9\r\n\r\n{\"data\":[]}"
                .to_vec())),
        ("compressed without asking", Act::Answer(answer(200,
            "content-type: application/json\r\ncontent-encoding: gzip\r\n",
            b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xed\xc1"))),
        ("lists that are objects", body(r#"{"data":{},"rankings":{},"choices":{}}"#)),
        ("lists that are null", body(r#"{"data":null,"rankings":null,"choices":null}"#)),
        ("lists of numbers", body(r#"{"data":[1,2],"rankings":[1,2],"choices":[1]}"#)),
        ("a number beyond all", body(r#"{"data":1e999,"rankings":1e999,"choices":1e999}"#)),
    ];
    let mut trials = Vec::new();
    for call in ALL {
        for (name, act) in &cases {
            trials.push(Trial::new(name, call, vec![act.clone()], INVALID));
        }
        let late = body(format!(r#"{{"error":{{"message":"late {KEY}"}}}}"#));
        trials.push(Trial::new("an error under 200", call, vec![late], &["answer_failed"]));
    }
    run(trials).await;
}

/// Two items of an embedding or a ranking answer, as text.
fn items(call: Call, items: &[(&str, &str)]) -> Act {
    let (list, value) =
        if call == Call::Embed { ("data", "embedding") } else { ("rankings", "logit") };
    let items: Vec<String> = items
        .iter()
        .map(|(index, number)| match (index.is_empty(), call) {
            (true, Call::Embed) => format!(r#"{{"{value}":[{number},1]}}"#),
            (true, _) => format!(r#"{{"{value}":{number}}}"#),
            (false, Call::Embed) => format!(r#"{{"index":{index},"{value}":[{number},1]}}"#),
            (false, _) => format!(r#"{{"index":{index},"{value}":{number}}}"#),
        })
        .collect();
    body(format!(r#"{{"{list}":[{}]}}"#, items.join(",")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_indices_and_numbers_are_checked() {
    let mut trials = Vec::new();
    for call in [Call::Embed, Call::Rank] {
        let mut add = |name: &str, list: &[(&str, &str)]| {
            trials.push(Trial::new(name, call, vec![items(call, list)], INVALID));
        };
        add("no items", &[]);
        add("one item missing", &[("0", "1")]);
        add("one item more", &[("0", "1"), ("1", "1"), ("2", "1")]);
        add("an index twice", &[("1", "1"), ("1", "2")]);
        add("an index missing", &[("0", "1"), ("", "1")]);
        add("no index at all", &[("", "1"), ("", "1")]);
        for index in [
            "-1",
            "2",
            "4294967296",
            "9223372036854775808",
            "18446744073709551616",
            "1e300",
            "0.5",
            "null",
            "\"1\"",
            "[]",
        ] {
            add(&format!("index {index}"), &[("0", "1"), (index, "1")]);
        }
        for number in ["NaN", "Infinity", "1e39", "-1e39", "1e400", "null", "\"1\"", "[1]", "true"]
        {
            add(&format!("value {number}"), &[("0", "1"), ("1", number)]);
        }
    }
    for (name, vectors) in [
        ("an empty vector", "[]"),
        ("a zero vector", "[0,0]"),
        ("a vector of another length", "[1,2,3]"),
        ("a vector of no number", "{}"),
    ] {
        let text = format!(
            r#"{{"data":[{{"index":0,"embedding":[1,2]}},{{"index":1,"embedding":{vectors}}}]}}"#
        );
        trials.push(Trial::new(name, Call::Embed, vec![body(text)], INVALID));
    }
    run(trials).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_in_any_dress_are_typed_and_free_of_the_key() {
    let deep = "[".repeat(60_000);
    let half = &KEY[..KEY.len() - 4];
    let escaped = format!(r"\u006evapi{}", &KEY[5..]);
    let long = "y".repeat(70 << 10);
    let cases: Vec<(&str, u16, String, &'static [&'static str])> = vec![
        ("401 with the key", 401, format!(r#"{{"detail":"bad key {KEY}"}}"#), &["unauthorized"]),
        ("401 with half of the key", 401, format!("bad key {half}..."), &["unauthorized"]),
        (
            "403 with the key",
            403,
            format!(r#"{{"title":"{KEY}","detail":"{KEY}"}}"#),
            &["forbidden"],
        ),
        ("500 in html with the key", 500, format!("<p>{KEY}{KEY}</p>"), &["server"]),
        ("400 with the key at the cut", 400, "x".repeat(505) + KEY, &["bad_request"]),
        ("400 with the key at the cap", 400, "x".repeat((8 << 10) - 9) + KEY, &["bad_request"]),
        (
            "400 with an escaped key",
            400,
            format!(r#"{{"error":"\u006evapi{}"}}"#, &KEY[5..]),
            &["bad_request"],
        ),
        (
            "400 with an escaped key in half of a document",
            400,
            format!(r#"{{"error":"{escaped}""#),
            &["bad_request"],
        ),
        (
            "400 with an escaped key in a document beyond the cap",
            400,
            format!(r#"{{"error":"{escaped}","x":"{long}"}}"#),
            &["bad_request"],
        ),
        (
            "400 with an escaped key in a field that comes again",
            400,
            format!(r#"{{"error":"{escaped}","error":"m"}}"#),
            &["bad_request"],
        ),
        (
            "400 with an escaped key in a deep document",
            400,
            format!(r#"{{"error":"{escaped}","x":{deep}"#),
            &["bad_request"],
        ),
        (
            "400 with an escaped key in an event",
            400,
            format!("data: {{\"error\":\"{escaped}\"}}\n\n"),
            &["bad_request"],
        ),
        (
            "400 with an escaped key in words of another server",
            400,
            json!({"error": format!("upstream said {{\"error\":\"{escaped}\"}}")}).to_string(),
            &["bad_request"],
        ),
        (
            "400 with the key as a code",
            400,
            format!(r#"{{"error":{{"code":"{KEY}"}}}}"#),
            &["bad_request"],
        ),
        ("400 nested 60,000 deep", 400, format!("{{\"detail\":{deep}"), &["bad_request"]),
        (
            "400 with fields of other types",
            400,
            r#"{"error":{"message":{"message":[7]}},"detail":[[],{}],"title":3}"#.to_owned(),
            &["bad_request"],
        ),
        ("400 with controls", 400, "a\u{1b}[2J\u{7}\u{202e}\0".to_owned(), &["bad_request"]),
        (
            "422 with a list",
            422,
            r#"{"detail":[{"loc":["body","input",99999999999],"msg":"bad"}]}"#.to_owned(),
            &["bad_request"],
        ),
        ("400 of nothing", 400, String::new(), &["bad_request"]),
    ];
    let mut trials = Vec::new();
    for call in ALL {
        for (name, status, text, kinds) in &cases {
            let headers = format!("x-request-id: {KEY}\r\n");
            let act = Act::Answer(answer(*status, &headers, text));
            trials.push(Trial::new(name, call, vec![act], kinds));
        }
        let cut =
            Act::Close(format!("HTTP/1.1 422 X\r\ncontent-length: 99\r\n\r\n{KEY}").into_bytes());
        trials.push(Trial::new("a refusal that breaks off", call, vec![cut], &["bad_request"]));
    }
    run(trials).await;
}
