//! What one address may do, and who it is: failed sign-ins.

mod support;

use reqwest::Method;
use support::{ADMIN, Answer, SUPER, Server, send};

/// What an app's list of users is answered with, asked for as somebody.
async fn ask(server: &Server, who: (&str, &str)) -> Answer {
    server.call_as(Some(who), Method::GET, "/api/x/listonlineuser").await
}

async fn status(server: &Server, who: (&str, &str)) -> u16 {
    ask(server, who).await.status.as_u16()
}

/// Whether the figures of a node have this line.
async fn tells(server: &Server, line: &str) -> bool {
    let text = send(server.call(Method::GET, "/metrics")).await.text;
    text.lines().any(|own| own == line)
}

/// A node whose figures anybody may read, with an app.
async fn serve(settings: &[(&str, &str)]) -> Server {
    let server = Server::with(&[&[("metrics.public", "true")], settings].concat()).await;
    server.register("x").await;
    server
}

#[tokio::test]
async fn who_guesses_passwords_has_to_wait_and_the_right_one_waits_too() {
    let server = serve(&[("addresses.failed_sign_ins_max", "3")]).await;
    for guess in ["a", "b", "c"] {
        assert_eq!(status(&server, (ADMIN.0, guess)).await, 401);
    }
    let refused = ask(&server, ADMIN).await;
    assert_eq!(
        (refused.status.as_u16(), &*refused.text),
        (429, "too many failed sign-ins, try again later\n")
    );
    assert!((1..=60).contains(&refused.header("Retry-After").parse::<u32>().unwrap()));
    assert_eq!(refused.header("WWW-Authenticate"), "");
    assert_eq!(status(&server, SUPER).await, 200, "another account");
    assert!(tells(&server, r#"gusher_address_refusals_total{reason="sign_ins_exceeded"} 1"#).await);
    // In the words of Cluster, too.
    let refused = server.call_as(Some(ADMIN), Method::GET, "/v1/apps/x/users").await;
    assert_eq!((refused.status.as_u16(), &*refused.text), (429, "too many failed sign-ins, try again later"));
    assert_ne!(refused.header("Retry-After"), "");
}

#[tokio::test]
async fn an_old_password_holds_up_who_has_it_and_nobody_else() {
    let server = serve(&[("addresses.failed_sign_ins_max", "3")]).await;
    for expected in [401, 401, 401, 429, 429] {
        assert_eq!(status(&server, (ADMIN.0, "old")).await, expected);
    }
    assert_eq!(status(&server, ADMIN).await, 200);
}

#[tokio::test]
async fn guesses_side_by_side_are_counted_like_others() {
    let server = serve(&[("addresses.failed_sign_ins_max", "3"), ("node.bcrypt_cost", "8")]).await;
    let guesses = (0..40).map(|guess| {
        let call = server.call(Method::GET, "/api/x/listonlineuser");
        send(call.basic_auth(ADMIN.0, Some(guess.to_string())))
    });
    let answers = futures_util::future::join_all(guesses).await;
    let looked_at = answers.iter().filter(|answer| answer.status == 401).count();
    // A core more may be at it when the third has failed.
    let cores = std::thread::available_parallelism().unwrap().get();
    assert!((3..=3 + 2 * cores).contains(&looked_at), "{looked_at} were looked at");
}

#[tokio::test]
async fn wrong_tokens_for_figures_are_counted_too() {
    let token = "0123456789abcdef";
    let settings = [("addresses.failed_sign_ins_max", "3"), ("metrics.token", token)];
    let server = Server::with(&settings).await;
    let scrape = async |token: &str| send(server.call(Method::GET, "/metrics").bearer_auth(token)).await;
    assert_eq!(scrape(token).await.status, 200);
    for guess in ["a", "b", "c"] {
        assert_eq!(scrape(guess).await.status, 401);
    }
    assert_eq!(scrape(token).await.status, 429);
    assert_eq!(server.get("/metrics").await.status, 200, "the super admin shows no token");
}

#[tokio::test]
async fn without_a_limit_everybody_may_fail() {
    let server = serve(&[("addresses.failed_sign_ins_max", "0")]).await;
    for guess in 0..20 {
        assert_eq!(status(&server, (ADMIN.0, &guess.to_string())).await, 401);
    }
    assert_eq!(status(&server, ADMIN).await, 200);
}
