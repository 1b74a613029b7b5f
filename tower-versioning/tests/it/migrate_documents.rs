//! Documents are read when a change looks at them, and written when one took them mutably.

use http::Method;
use serde_json::{Value, json};
use tower_versioning::migrate::{Change, Document, MigrateError, MigrateErrorKind, Migrations};

use crate::migrate::{get, json_answer, one, request, send_to};
use crate::support::{V1, V2};

type Touch = fn(&mut Document<'_>) -> tower_versioning::migrate::ChangeResult;

const NOTHING: Touch = |_| Ok(());
const LOOK: Touch = |body| if body.is_null() { Err("unread".into()) } else { Ok(()) };
const TAKE: Touch = |body| {
    body.as_object_mut().ok_or("no object")?.insert("new".to_owned(), Value::Null);
    Ok(())
};

/// White space, the order of members and the form of numbers are those of another writer than ours.
const WRITTEN: &str = "{ \"b\": 1.50, \"a\": 10000000000000000000000 }";

#[tokio::test]
async fn a_body_that_no_change_takes_mutably_stays_octet_by_octet() {
    for (touch, kept) in [(NOTHING, true), (LOOK, true), (TAKE, false)] {
        let migrations = one(Change::new("c").request_body(touch).response_body(touch)).build().unwrap();
        let sent = request(V1, Method::POST, "/", &json!(1)).map(|_| WRITTEN.to_owned());
        let (head, body, arrived) = send_to(&migrations, sent, |_| {
            let mut answer = json_answer(&Value::Null).map(|_| WRITTEN.into());
            answer.headers_mut().insert("repr-digest", "d".parse().unwrap());
            answer.headers_mut().insert("etag", "\"abc\"".parse().unwrap());
            answer
        })
        .await;
        let arrived = arrived.unwrap();
        assert_eq!(*arrived.body == *WRITTEN.as_bytes(), kept);
        assert_eq!(*body == *WRITTEN.as_bytes(), kept);
        assert_eq!(head.headers.contains_key("repr-digest"), kept);
        assert_eq!(head.headers["etag"], "\"abc;1\"", "it is the version's, whether it differs or not");
        assert_eq!(arrived.head.headers.contains_key("content-length"), !kept);
    }
}

/// Numbers that no change is about are the same numbers afterwards: the nearest of 64 bits, to the last of them.
#[tokio::test]
async fn numbers_are_the_same_afterwards() {
    let migrations = one(Change::new("c").request_body(TAKE).response_body(TAKE)).build().unwrap();
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from_bits(state)
    };
    let mut numbers =
        vec!["122.416294033786585".to_owned(), "9007199254740993.0".to_owned(), "5e-324".to_owned()];
    while numbers.len() < 2000 {
        let number = random();
        if number.is_finite() {
            numbers.push(format!("{number:e}"));
            numbers.push(format!("{:.3}", number % 1e12));
        }
    }
    let text = format!("{{\"all\":[{}]}}", numbers.join(","));
    let sent = request(V1, Method::POST, "/", &json!(1)).map(|_| text.clone());
    let (_, body, arrived) =
        send_to(&migrations, sent, |_| json_answer(&Value::Null).map(|_| text.clone().into())).await;
    for translated in [body, arrived.unwrap().body] {
        let translated = String::from_utf8(translated.to_vec()).unwrap();
        let all = translated.split_once('[').unwrap().1.split_once(']').unwrap().0;
        let mut count = 0;
        for (after, before) in all.split(',').zip(&numbers) {
            assert_eq!(after.parse::<f64>(), before.parse::<f64>(), "{before}");
            count += 1;
        }
        assert_eq!(count, numbers.len());
    }
}

/// One change writes, a later one only looks: it sees what was written, and that is what is sent.
#[tokio::test]
async fn what_one_change_wrote_is_what_the_next_one_sees() {
    let sees =
        |body: &mut Document<'_>| if body.get("new").is_some() { Ok(()) } else { Err("unseen".into()) };
    let migrations = Migrations::builder()
        .change(V2, Change::new("sees").response_body(sees))
        .change(V2, Change::new("writes").response_body(TAKE))
        .build()
        .unwrap();
    let (head, body, _) = send_to(&migrations, get(V1, "/"), |_| json_answer(&json!({"old": 1}))).await;
    assert_eq!((head.status.as_u16(), &*body), (200, &b"{\"new\":null,\"old\":1}"[..]));
}

/// Whatever the change makes of the null that it sees. Who does not look has nothing to translate.
#[tokio::test]
async fn what_is_no_json_is_refused_when_a_change_looks_at_it() {
    let fails: Touch = |body| if body.is_null() { Err("what it saw was null".into()) } else { Ok(()) };
    let set: Touch = |body| {
        **body = json!({"mine": 1});
        Ok(())
    };
    for (touch, looks) in [(LOOK, true), (TAKE, true), (fails, true), (set, true), (NOTHING, false)] {
        let migrations = one(Change::new("c").request_body(touch).response_body(touch)).build().unwrap();
        let sent = |text: &str| request(V1, Method::POST, "/", &json!(1)).map(|_| text.to_owned());
        let fine = |_: &_| json_answer(&json!({"x": 1}));
        let (head, _, arrived) = send_to(&migrations, sent("{}"), fine).await;
        assert!(head.status == 200 && arrived.is_some());
        let (head, _, arrived) = send_to(&migrations, sent("{]"), fine).await;
        let kind = head.extensions.get::<MigrateError>().map(MigrateError::kind);
        let broken = |_: &_| json_answer(&Value::Null).map(|_| "{]".into());
        let (down, body, _) = send_to(&migrations, sent("{}"), broken).await;
        let down_kind = down.extensions.get::<MigrateError>().map(MigrateError::kind);
        if !looks {
            assert!(head.status == 200 && arrived.is_some_and(|arrived| *arrived.body == *b"{]"));
            assert!(down.status == 200 && *body == *b"{]");
            continue;
        }
        assert_eq!((head.status.as_u16(), kind), (400, Some(MigrateErrorKind::RequestMalformed)));
        assert!(arrived.is_none());
        assert_eq!((down.status.as_u16(), down_kind), (500, Some(MigrateErrorKind::ResponseMalformed)));
    }
}
