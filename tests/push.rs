//! What a backend pushes arrives where it should, as it was, in order, and nowhere else.

mod support;

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use support::{Answer, Client, SUPER, Server, send};

/// A server with the app `x` and one socket for each tag, which is written as in a URL.
async fn server_with(tags: &[&str]) -> (Server, Vec<Client>) {
    let server = Server::start().await;
    server.register("x").await;
    let mut clients = Vec::new();
    for tag in tags {
        clients.push(server.connect("x", tag).await);
    }
    (server, clients)
}

/// What each client has received so far.
async fn received(server: &Server, clients: &mut [Client]) -> Vec<Vec<String>> {
    server.push("x", "the end").await;
    let mut all = Vec::new();
    for client in clients {
        all.push(client.texts_before("the end").await);
    }
    all
}

/// A push whose body is sent as it is written.
async fn push_raw(server: &Server, body: &'static [u8]) -> Answer {
    let call = server.call(Method::POST, "/api/push/x").basic_auth(SUPER.0, Some(SUPER.1));
    send(call.header("Content-Type", "application/x-www-form-urlencoded").body(body)).await
}

#[tokio::test]
async fn gu_046_a_push_without_a_tag_reaches_every_socket() {
    let (server, mut clients) = server_with(&["a", "b", "c"]).await;
    server.push("x", "hello").await;
    assert_eq!(received(&server, &mut clients).await, [["hello"]; 3]);
}

#[tokio::test]
async fn gu_046_an_empty_tag_is_no_tag() {
    let (server, mut clients) = server_with(&["a", "b"]).await;
    server.push_to("x", "", "hello").await;
    assert_eq!(received(&server, &mut clients).await, [["hello"]; 2]);
}

#[tokio::test]
async fn gu_047_a_push_is_answered_with_what_was_pushed_and_to_how_many() {
    let (server, _clients) = server_with(&["a", "b", "c"]).await;
    let answer = server.push("x", "hello").await;
    assert_eq!(answer.header("Content-Type"), "application/json; charset=utf-8");
    let expected = r#"{"app_key":"x","content":"hello","user_tag":"","total":3,"sockets":3}"#;
    assert_eq!(answer.text, format!("{expected}\n"));
}

#[tokio::test]
async fn gu_048_a_pattern_is_searched_anywhere_in_a_tag() {
    let (server, mut clients) = server_with(&["A:1", "A:10", "B"]).await;
    let answer = server.push_to("x", "A:1", "hello").await.json();
    assert_eq!([&answer["user_tag"], &answer["total"]], [&json!("A:1"), &json!(2)]);
    assert_eq!(received(&server, &mut clients).await, [vec!["hello"], vec!["hello"], vec![]]);
}

#[tokio::test]
async fn gu_049_anchors_name_one_tag() {
    let (server, mut clients) = server_with(&["A:1", "A:10", "BA:1"]).await;
    assert_eq!(server.push_to("x", "^A:1$", "hello").await.json()["total"], 1);
    assert_eq!(received(&server, &mut clients).await, [vec!["hello"], vec![], vec![]]);
}

#[tokio::test]
async fn gu_050_a_pattern_that_matches_nobody_is_no_error() {
    let (server, mut clients) = server_with(&["a", "b"]).await;
    for pattern in ["nobody", "^nobody$"] {
        let answer = server.push_to("x", pattern, "hello").await;
        assert_eq!(answer.status, 200);
        assert_eq!([&answer.json()["total"], &answer.json()["sockets"]], [0, 0]);
    }
    assert_eq!(received(&server, &mut clients).await, [[""; 0]; 2]);
}

#[tokio::test]
async fn gu_051_a_pattern_that_is_none_is_refused() {
    let (server, mut clients) = server_with(&["a", "("]).await;
    for pattern in ["(", "a**", "[", r"\8", "(?=a)", r"(a)\1"] {
        let answer = server.push_to("x", pattern, "hello").await;
        assert_eq!(answer.status, 400, "{pattern}");
        assert!(answer.text.starts_with("user_tag regex error: "), "{pattern}: {}", answer.text);
        assert_eq!(answer.text.lines().count(), 1, "{pattern}: {}", answer.text);
    }
    assert_eq!(received(&server, &mut clients).await, [[""; 0]; 2]);
}

#[tokio::test]
async fn gu_052_a_push_has_content() {
    let (server, mut clients) = server_with(&["a"]).await;
    for answer in [server.push("x", "").await, server.post("/api/push/x", &[("user_tag", "a")]).await] {
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (400, "app_key || content empty\n"));
    }
    assert_eq!(received(&server, &mut clients).await, [[""; 0]]);
}

#[tokio::test]
async fn gu_053_case_counts_unless_the_pattern_says_otherwise() {
    let (server, mut clients) = server_with(&["A:1"]).await;
    assert_eq!(server.push_to("x", "a:1", "exact").await.json()["total"], 0);
    assert_eq!(server.push_to("x", "(?i)a:1", "any case").await.json()["total"], 1);
    assert_eq!(received(&server, &mut clients).await, [["any case"]]);
}

#[tokio::test]
async fn gu_054_digits_are_ascii_only() {
    let (server, mut clients) = server_with(&["5", "%D9%A5"]).await;
    assert_eq!(server.push_to("x", r"\d", "hello").await.json()["total"], 1);
    assert_eq!(received(&server, &mut clients).await, [vec!["hello"], vec![]]);
}

#[tokio::test]
async fn patterns_are_written_as_in_go() {
    let tags = ["a%7B", "a%26b", "%5Bx", "%3Cb%3E", "a.b", "%E5%BC%A0", "two%20words"];
    let (server, mut clients) = server_with(&tags).await;
    let cases: [(&str, &[usize]); 11] = [
        ("a{", &[0]),
        ("[x&&y]", &[1, 2]),
        ("[[]", &[2]),
        (r"\<b\>", &[3]),
        (r"\Qa.b\E", &[4]),
        (r"a\Q{\E", &[0]),
        (r"\056", &[4]),
        (r"^\W$", &[5]),
        (r"\bwords\b", &[6]),
        (r"^\pL$", &[5]),
        (r"\s", &[6]),
    ];
    for (pattern, matching) in cases {
        let answer = server.push_to("x", pattern, pattern).await;
        assert_eq!(answer.json()["total"], matching.len(), "{pattern}: {}", answer.text);
    }
    for (index, texts) in received(&server, &mut clients).await.iter().enumerate() {
        let expected: Vec<_> =
            cases.iter().filter(|(_, tags)| tags.contains(&index)).map(|(pattern, _)| pattern).collect();
        assert!(texts.iter().eq(expected), "{}: {texts:?}", tags[index]);
    }
}

#[tokio::test]
async fn a_pattern_that_would_cost_too_much_is_refused_at_once() {
    let (server, _clients) = server_with(&["a"]).await;
    let bombs = [
        "((a{100}){100}){100}".to_owned(),
        r"(\pL{1000}){1000}".to_owned(),
        format!("(?i){}", r"[\x{0}-\x{10FFFF}]".repeat(200)),
        format!("{}{}", "(".repeat(2000), ")".repeat(2000)),
        "(x?){1000}".repeat(400),
    ];
    for bomb in bombs {
        let begun = Instant::now();
        let answer = server.push_to("x", &bomb, "hello").await;
        assert_eq!(answer.status, 400, "{bomb:.40}");
        assert_eq!(answer.text, "user_tag regex error: expression too complex\n", "{bomb:.40}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{bomb:.40}: {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_pattern_has_at_most_4096_bytes() {
    let (server, _clients) = server_with(&["a"]).await;
    assert_eq!(server.push_to("x", &"a".repeat(4096), "hello").await.status, 200);
    assert_eq!(server.push_to("x", &"a".repeat(4097), "hello").await.status, 400);
    assert_eq!(server.push_to("x", &format!("^{}$", "é".repeat(2048)), "hello").await.status, 400);
}

#[tokio::test]
async fn gu_055_a_tag_with_two_sockets_counts_once_and_receives_twice() {
    let (server, mut clients) = server_with(&["a", "a", "b"]).await;
    let everyone = server.push("x", "everyone").await.json();
    assert_eq!([&everyone["total"], &everyone["sockets"]], [2, 3]);
    let one = server.push_to("x", "^a$", "one").await.json();
    assert_eq!([&one["total"], &one["sockets"]], [1, 2]);
    let both = vec!["everyone", "one"];
    assert_eq!(received(&server, &mut clients).await, [both.clone(), both, vec!["everyone"]]);
}

#[tokio::test]
async fn gu_056_content_arrives_as_it_was() {
    let (server, mut clients) = server_with(&["a"]).await;
    let contents = [r#"{"quoted":"\"<b>&amp;'"}"#, "🙂 é 张", "two\r\nlines\n", " \u{0} \u{2028}", "+%2B%"];
    for content in contents {
        let answer = server.push("x", content).await;
        assert_eq!(answer.json()["content"], content);
        assert!(!answer.text.contains(r"\u003c"), "{}", answer.text);
    }
    assert_eq!(received(&server, &mut clients).await, [contents]);
}

#[tokio::test]
async fn gu_056_content_arrives_whatever_its_length() {
    let (server, mut clients) = server_with(&["a"]).await;
    // Where the head of a frame changes its form (RFC 6455 section 5.2).
    let contents = [125, 126, 65_535, 65_536].map(|length| "c".repeat(length));
    for content in &contents {
        server.push("x", content).await;
    }
    assert!(received(&server, &mut clients).await == [contents]);
}

#[tokio::test]
async fn gu_057_a_push_to_an_app_without_sockets_is_no_error() {
    let (server, _) = server_with(&[]).await;
    for answer in [server.push("x", "hello").await, server.push_to("x", "a", "hello").await] {
        assert_eq!(answer.status, 200);
        assert_eq!([&answer.json()["total"], &answer.json()["sockets"]], [0, 0]);
    }
}

#[tokio::test]
async fn gu_058_pushes_arrive_in_order_and_once() {
    let (server, mut clients) = server_with(&["a", "b", "c", "a"]).await;
    let contents: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    for (number, content) in contents.iter().enumerate() {
        // The kinds of target take different ways through the hub.
        match number % 3 {
            0 => server.push("x", content).await,
            1 => server.push_to("x", ".", content).await,
            _ => server.push_to("x", "^[abc]$", content).await,
        };
    }
    for texts in received(&server, &mut clients).await {
        assert_eq!(texts, contents);
    }
}

#[tokio::test]
async fn gu_059_a_push_stays_in_its_app() {
    let (server, mut clients) = server_with(&["a"]).await;
    server.register("y").await;
    let mut other = server.connect("y", "a").await;
    for pattern in ["", "a", "^a$"] {
        server.push_to("y", pattern, "for y").await;
    }
    server.push("y", "the end").await;
    assert_eq!(other.texts_before("the end").await, ["for y"; 3]);
    assert_eq!(received(&server, &mut clients).await, [[""; 0]]);
}

#[tokio::test]
async fn gu_060_the_list_of_users_has_each_tag_once() {
    let (server, _clients) = server_with(&["a", "b", "a"]).await;
    let answer = server.get("/api/x/listonlineuser").await;
    assert_eq!(answer.header("Content-Type"), "application/json; charset=utf-8");
    assert!(answer.text.starts_with(r#"{"app_key":"x","total":2,"user_tags":{""#), "{}", answer.text);
    assert_eq!(answer.json()["user_tags"], json!({ "a": null, "b": null }));
}

#[tokio::test]
async fn gu_060_the_list_of_users_of_an_empty_app() {
    let (server, _) = server_with(&[]).await;
    let answer = server.get("/api/x/listonlineuser").await;
    assert_eq!(answer.text, "{\"app_key\":\"x\",\"total\":0,\"user_tags\":{}}\n");
}

/// A tag that cannot be read must not become no tag, which means everyone.
#[tokio::test]
async fn what_is_not_utf_8_is_refused() {
    let (server, mut clients) = server_with(&["a"]).await;
    let bodies: [&[u8]; 4] =
        [b"content=%FF", b"content=a%C3", b"content=\xED\xA0\x80", b"content=hello&user_tag=%FF"];
    for body in bodies {
        assert_eq!(push_raw(&server, body).await.status, 400, "{body:?}");
    }
    assert_eq!(server.post("/api/push/x?content=%FF", &[]).await.status, 400);
    assert_eq!(received(&server, &mut clients).await, [[""; 0]]);
}

#[tokio::test]
async fn a_pattern_that_takes_too_long_is_refused_and_reaches_nobody() {
    let server = Server::with(&[("limits.pattern_seconds_max", "1")]).await;
    server.register("slow").await;
    server.register("other").await;
    let mut clients = Vec::new();
    for number in 0..250 {
        clients.push(server.connect("slow", &format!("{}{number}", "a".repeat(1_000))).await);
    }
    let mut other = server.connect("other", "b").await;
    let (refused, answered) = tokio::join!(server.push_to("slow", "(?:a?){900}[bc]", "x"), async {
        server.push_to("other", "b+", "y").await
    });
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert_eq!(answered.status, 200, "{}", answered.text);
    assert_eq!(refused.text, "user_tag regex error: matching takes too long\n");
    assert_eq!(other.text().await, "y");
    assert_eq!(server.push("slow", "next").await.status, 200);
    assert_eq!(clients[0].text().await, "next");
}
