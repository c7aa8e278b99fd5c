use serde_json::json;

use super::super::fake::Fake;
use super::*;

const FAST: Timing = Timing {
    every: Duration::from_millis(5),
    request: Duration::from_millis(100),
    give_up: Duration::from_millis(60),
};

async fn hold(fake: &Fake) -> Hold {
    let client = fake.client();
    Hold::keep_at(&client, Held::claim(&client, "e2e-1", None).await.unwrap(), FAST)
}

async fn loss(hold: &Hold) -> String {
    tokio::time::timeout(Duration::from_secs(20), hold.loss()).await.unwrap().unwrap()
}

async fn renewed_to(hold: &Hold, renewals: u64) {
    let waited =
        component::poll::until("renewals", Duration::from_millis(2), Duration::from_secs(20), || {
            let seen = hold.account("c").renewals;
            std::future::ready(if seen >= renewals {
                component::poll::Look::Ready(())
            } else {
                component::poll::Look::NotYet(seen)
            })
        });
    waited.await.unwrap();
}

#[tokio::test]
async fn a_record_that_another_takes_is_lost_at_once() {
    let fake = Fake::default();
    let hold = hold(&fake).await;
    renewed_to(&hold, 2).await;
    assert_eq!(hold.is_lost(), None);
    fake.set_lease(|lease| lease.as_mut().unwrap()["spec"]["holderIdentity"] = json!("e2e-2"));
    let why = loss(&hold).await;
    assert!(why.contains("is held by"), "{why}");
    assert_eq!(hold.is_lost(), Some(why));
    let work = hold.during(std::future::ready(())).await;
    assert!(work.is_err(), "nothing more is done there");
}

#[tokio::test]
async fn one_that_is_deleted_is_lost() {
    let fake = Fake::default();
    let hold = hold(&fake).await;
    fake.set_lease(|lease| *lease = None);
    assert!(loss(&hold).await.ends_with("is gone"));
}

#[tokio::test]
async fn an_apiserver_that_does_not_answer_takes_it_only_in_the_end() {
    let fake = Fake::default();
    let hold = hold(&fake).await;
    fake.set_down(true);
    let why = loss(&hold).await;
    assert!(why.contains("could not be renewed for") && why.contains("down"), "{why}");
    assert!(hold.account("c").unrenewed_ms_max >= 60, "{:?}", hold.account("c"));
}

#[tokio::test]
async fn work_goes_on_while_it_is_renewed_and_ends_with_it() {
    let fake = Fake::default();
    let hold = hold(&fake).await;
    let done = hold.during(renewed_to(&hold, 3)).await;
    assert_eq!(done, Ok(()));
    fake.set_lease(|lease| *lease = None);
    let never = hold.during(std::future::pending::<()>()).await;
    assert!(never.is_err());
}
