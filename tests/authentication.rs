//! Who may call what: the super admin everything, an app's admin their own app, anybody else nothing.

mod support;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use support::{ADMIN, Answer, SUPER, Server, send};

/// The private endpoints as asked about the app `x`, in an order in which all can succeed.
fn endpoints() -> [(Method, &'static str); 5] {
    [
        (Method::POST, "/api/register?app_key=new&auth_account=a&auth_password=p"),
        (Method::GET, "/api/app-list"),
        (Method::POST, "/api/push/x?content=hi"),
        (Method::GET, "/api/x/listonlineuser"),
        (Method::DELETE, "/api/x/unregister"),
    ]
}

async fn server_with(apps: &[&str]) -> Server {
    let server = Server::start().await;
    for app in apps {
        server.register(app).await;
    }
    server
}

/// Registers an app with an admin of its own.
async fn register(server: &Server, app: &str, (account, password): (&str, &str)) {
    let fields = [("app_key", app), ("auth_account", account), ("auth_password", password)];
    assert_eq!(server.post("/api/register", &fields).await.status, 200);
}

/// The status of a listing of the app `x` for somebody.
async fn status(server: &Server, who: (&str, &str)) -> u16 {
    server.call_as(Some(who), Method::GET, "/api/x/listonlineuser").await.status.as_u16()
}

/// The answer to an `Authorization` header as it is written.
async fn with_header(server: &Server, authorization: &str) -> Answer {
    send(server.call(Method::GET, "/api/app-list").header("Authorization", authorization)).await
}

fn encoded((account, password): (&str, &str)) -> String {
    STANDARD.encode(format!("{account}:{password}"))
}

#[tokio::test]
async fn gu_019_every_endpoint_asks_for_credentials() {
    let server = server_with(&["x"]).await;
    for (method, path) in endpoints() {
        let answer = server.call_as(None, method, path).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (401, "Not authorized\n"), "{path}");
        assert_eq!(answer.header("WWW-Authenticate"), "Basic realm=\"Restricted\"", "{path}");
    }
}

#[tokio::test]
async fn gu_019_only_a_401_asks_for_credentials() {
    let server = server_with(&[]).await;
    for answer in [server.get("/api/app-list").await, server.get("/api/x/listonlineuser").await] {
        assert_ne!(answer.status, 401);
        assert_eq!(answer.header("WWW-Authenticate"), "");
    }
}

#[tokio::test]
async fn gu_020_a_wrong_password_of_the_super_admin_opens_nothing() {
    let server = server_with(&["x"]).await;
    for password in ["", "Password", "password ", "passwor", "passwordx"] {
        for (method, path) in endpoints() {
            let answer = server.call_as(Some((SUPER.0, password)), method, path).await;
            assert_eq!(answer.status, 401, "{password:?} {path}");
        }
    }
}

#[tokio::test]
async fn gu_021_what_is_no_account_and_password_is_not_authorized() {
    let server = server_with(&[]).await;
    let no_colon = format!("Basic {}", STANDARD.encode("accountpassword"));
    let no_text = format!("Basic {}", STANDARD.encode(b"account:\xFF"));
    for header in ["", "Basic", "Basic ", "Basic !!!!", "Basic YWNjb3VudDpwYXNz=", &no_colon, &no_text] {
        let answer = with_header(&server, header).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (401, "Not authorized\n"), "{header:?}");
    }
}

#[tokio::test]
async fn gu_022_the_scheme_is_basic_in_any_case() {
    let server = server_with(&[]).await;
    for (scheme, expected) in [("Basic", 200), ("basic", 200), ("BASIC", 200), ("Bearer", 401), ("Basi", 401)]
    {
        let answer = with_header(&server, &format!("{scheme} {}", encoded(SUPER))).await;
        assert_eq!(answer.status, expected, "{scheme}");
    }
}

#[tokio::test]
async fn gu_023_the_super_admin_may_call_everything() {
    let server = server_with(&["x"]).await;
    for (method, path) in endpoints() {
        assert_eq!(server.call_as(Some(SUPER), method, path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn gu_024_an_app_admin_may_push_list_and_unregister_their_app() {
    let server = server_with(&["x"]).await;
    for (method, path) in endpoints().into_iter().skip(2) {
        assert_eq!(server.call_as(Some(ADMIN), method, path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn gu_025_an_app_admin_may_neither_register_nor_list_apps() {
    let server = server_with(&["x"]).await;
    for (method, path) in endpoints().into_iter().take(2) {
        assert_eq!(server.call_as(Some(ADMIN), method, path).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn gu_025_an_app_admin_has_no_power_over_another_app() {
    let server = server_with(&["x"]).await;
    register(&server, "other", ("another", "word")).await;
    for (method, path) in endpoints().into_iter().skip(2) {
        assert_eq!(server.call_as(Some(("another", "word")), method, path).await.status, 401, "{path}");
    }
    assert_eq!(status(&server, ADMIN).await, 200, "the app is still there");
}

#[tokio::test]
async fn gu_026_only_the_super_admin_learns_that_there_is_no_such_app() {
    let server = server_with(&["x"]).await;
    let about_no_app = [
        (Method::POST, "/api/push/none"),
        (Method::GET, "/api/none/listonlineuser"),
        (Method::DELETE, "/api/none/unregister"),
    ];
    for (method, path) in about_no_app {
        let answer = server.call_as(Some(SUPER), method.clone(), path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text.as_str()),
            (404, "app_key does not exist\n"),
            "{path}"
        );
        for who in [None, Some(ADMIN), Some((SUPER.0, "wrong"))] {
            assert_eq!(server.call_as(who, method.clone(), path).await.status, 401, "{path} {who:?}");
        }
    }
}

#[tokio::test]
async fn gu_027_a_password_may_contain_colons() {
    let server = server_with(&[]).await;
    register(&server, "x", ("boss", ":a:b:")).await;
    assert_eq!(status(&server, ("boss", ":a:b:")).await, 200);
    assert_eq!(status(&server, ("boss", ":a:b")).await, 401);
}

#[tokio::test]
async fn gu_028_the_border_between_account_and_password_counts() {
    let server = server_with(&[]).await;
    register(&server, "x", ("ab", "c")).await;
    assert_eq!(status(&server, ("a", "bc")).await, 401);
    assert_eq!(status(&server, ("abc", "")).await, 401);
    assert_eq!(status(&server, ("ab", "c")).await, 200);
}

#[tokio::test]
async fn gu_029_with_its_app_a_credential_ends() {
    let server = server_with(&["x"]).await;
    assert_eq!(status(&server, ADMIN).await, 200);
    server.unregister("x").await;
    assert_eq!(status(&server, ADMIN).await, 401);
}

#[tokio::test]
async fn gu_029_a_credential_of_a_former_app_opens_none_of_the_same_key() {
    let server = server_with(&["x"]).await;
    assert_eq!(status(&server, ADMIN).await, 200);
    server.unregister("x").await;
    register(&server, "x", (ADMIN.0, "changed")).await;
    assert_eq!(status(&server, ADMIN).await, 401);
    assert_eq!(status(&server, (ADMIN.0, "changed")).await, 200);
}

#[tokio::test]
async fn who_asks_is_settled_before_what_is_asked() {
    let server = Server::with(&[("limits.body_bytes_max", "1024")]).await;
    server.register("x").await;
    for path in ["/api/register", "/api/push/x"] {
        let call = server.call(Method::POST, path).form(&[("content", "x".repeat(2000))]);
        assert_eq!(send(call).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn a_missing_right_does_not_lock_the_right_password_out() {
    let server = server_with(&["x"]).await;
    register(&server, "other", ADMIN).await;
    let push = async |app: &str, who: (&str, &str)| {
        server.call_as(Some(who), Method::POST, &format!("/api/push/{app}?content=c")).await
    };
    for app in ["mistyped", "none"] {
        for _ in 0..12 {
            assert!([401, 429].contains(&push(app, ADMIN).await.status.as_u16()));
        }
    }
    for _ in 0..12 {
        assert!(
            [401, 429]
                .contains(&server.call_as(Some(ADMIN), Method::GET, "/api/app-list").await.status.as_u16())
        );
    }
    assert_eq!(push("x", ADMIN).await.status, 200);
    // A wrong password does, of this app alone.
    for _ in 0..10 {
        assert_eq!(push("x", (ADMIN.0, "wrong")).await.status, 401);
    }
    assert_eq!(push("x", (ADMIN.0, "wrong")).await.status, 429);
    for number in 0..10 {
        push("x", (ADMIN.0, &number.to_string())).await;
    }
    assert_eq!(push("x", ADMIN).await.status, 429);
    assert_eq!(push("other", ADMIN).await.status, 200);
    // The super admin's password counts wherever it is guessed.
    for number in 0..10 {
        push(["x", "other"][number % 2], (SUPER.0, &number.to_string())).await;
    }
    assert_eq!(push("x", SUPER).await.status, 429);
}
