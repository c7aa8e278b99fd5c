use super::super::fake::Fake;
use super::*;

fn renewed(lease: &Lease, later_s: i64) -> Lease {
    let mut lease = lease.clone();
    let time = Timestamp::from_second(Timestamp::now().as_second() + later_s).unwrap();
    lease.spec.as_mut().unwrap().renew_time = Some(MicroTime(time));
    lease
}

/// Returns the record of a process that cannot be seen from here.
fn unseen(mark: &str) -> Lease {
    let mut lease = ours(mark);
    lease.annotations_mut().retain(|key, _| [RUN_ID, HOST].contains(&key.as_str()));
    lease
}

#[test]
fn clocks_of_two_machines_are_never_compared() {
    let begin = Instant::now();
    for skew_s in [-1_000_000, 0, 1_000_000] {
        // By the wall clock it was renewed long ago, just now, or in the future.
        let lease = renewed(&unseen("e2e-1"), skew_s);
        let watched = Watched::new(lease.clone(), begin);
        assert!(matches!(watched.see(lease.clone(), begin + LEASE), State::Unclear(_)), "{skew_s}");
        let over = begin + LEASE + Duration::from_millis(1);
        assert!(matches!(watched.see(lease, over), State::Over(_)), "{skew_s}");
    }
}

#[test]
fn one_that_is_renewed_meanwhile_is_in_use() {
    let (begin, lease) = (Instant::now(), unseen("e2e-1"));
    let watched = Watched::new(lease.clone(), begin);
    // Even backwards: the holder's clock may have been set.
    let State::InUse(by) = watched.see(renewed(&lease, -60), begin + 2 * LEASE) else { panic!("not in use") };
    assert!(by.contains("by its clock"), "{by}");
    let mut other = lease.clone();
    other.spec.as_mut().unwrap().holder_identity = Some("e2e-2".to_owned());
    assert!(matches!(watched.see(other, begin), State::InUse(_)), "another has taken it");
}

#[test]
fn the_duration_is_the_record_s_own() {
    let begin = Instant::now();
    let mut lease = unseen("e2e-1");
    lease.spec.as_mut().unwrap().lease_duration_seconds = Some(600);
    let watched = Watched::new(lease.clone(), begin);
    assert!(matches!(watched.see(lease.clone(), begin + 2 * LEASE), State::Unclear(_)));
    assert!(matches!(watched.see(lease, begin + Duration::from_secs(601)), State::Over(_)));
}

#[test]
fn a_record_is_judged_by_the_process_only_where_that_can_be_seen() {
    let here = Here::now();
    assert!(
        matches!(judge(ours("e2e-1"), &here), State::InUse(_)),
        "this process lives, however late it renews"
    );
    assert!(matches!(judge(unseen("e2e-1"), &here), State::Unclear(_)));
    let mut given_up = ours("e2e-1");
    given_up.annotations_mut().insert(GIVEN_UP.to_owned(), "now".to_owned());
    assert!(matches!(judge(given_up, &here), State::Over(_)), "whoever gave up lives on, and cleans no more");
}

#[tokio::test]
async fn of_two_that_find_it_free_or_over_one_gets_it() {
    let fake = Fake::default();
    let client = fake.client();
    Held::claim(&client, "e2e-1", None).await.unwrap();
    assert!(matches!(Held::claim(&client, "e2e-2", None).await, Err(Refused::Lost(_))));
    let old = get(&client).await.unwrap().unwrap();
    Held::claim(&client, "e2e-2", Some(&old)).await.unwrap();
    assert!(matches!(Held::claim(&client, "e2e-3", Some(&old)).await, Err(Refused::Lost(_))));
    assert_eq!(fake.lease().unwrap()["spec"]["holderIdentity"], "e2e-2");
}

#[tokio::test]
async fn nobody_renews_what_another_holds() {
    let fake = Fake::default();
    let client = fake.client();
    let mut held = Held::claim(&client, "e2e-1", None).await.unwrap();
    held.renew(&client).await.unwrap();
    // A label does not take the record from us.
    fake.set_lease(|lease| lease.as_mut().unwrap()["metadata"]["labels"] = json!({"theirs": "yes"}));
    held.renew(&client).await.unwrap();
    let old = get(&client).await.unwrap().unwrap();
    let other = Held::claim(&client, "e2e-2", Some(&old)).await.unwrap();
    let before = fake.lease();
    let Err(Refused::Lost(why)) = held.renew(&client).await else { panic!("renewed") };
    assert!(why.contains("is held by run"), "{why}");
    held.remove(&client).await.unwrap();
    assert_eq!(fake.lease(), before, "neither renewed nor removed");
    assert!(matches!(Held::take_over(&client, "e2e-1").await, Err(Refused::Lost(_))));
    other.remove(&client).await.unwrap();
    assert_eq!(fake.lease(), None);
}

#[tokio::test]
async fn one_of_the_same_name_that_was_made_anew_is_not_ours() {
    let fake = Fake::default();
    let client = fake.client();
    let mut held = Held::claim(&client, "e2e-1", None).await.unwrap();
    fake.set_lease(|lease| *lease = None);
    let Err(Refused::Lost(why)) = held.renew(&client).await else { panic!("renewed") };
    assert!(why.ends_with("is gone"), "{why}");
    Held::claim(&client, "e2e-1", None).await.unwrap();
    assert!(matches!(held.renew(&client).await, Err(Refused::Lost(_))));
}

#[tokio::test]
async fn whoever_gives_up_lets_the_next_in_at_once() {
    let fake = Fake::default();
    let client = fake.client();
    Held::claim(&client, "e2e-1", None).await.unwrap().give_up(&client).await;
    let State::Over(old) = glance(&client).await.unwrap() else { panic!("not over") };
    Held::claim(&client, "e2e-2", Some(&old)).await.unwrap();
    assert!(matches!(glance(&client).await.unwrap(), State::InUse(_)), "its successor has not");
}

#[tokio::test]
async fn a_holder_that_cannot_be_seen_is_watched_and_that_is_said() {
    let fake = Fake::default();
    let client = fake.client();
    Held::claim(&client, "e2e-1", None).await.unwrap();
    fake.set_lease(|lease| {
        let lease = lease.as_mut().unwrap();
        lease["metadata"]["annotations"] = json!({RUN_ID: "far-away"});
        lease["spec"]["leaseDurationSeconds"] = json!(1);
        // By its own clock it was renewed in the far future.
        lease["spec"]["renewTime"] = json!("2099-01-01T00:00:00.000000Z");
    });
    let said = std::sync::Mutex::new(Vec::new());
    let state = look(&client, &|text| said.lock().unwrap().push(text.to_owned())).await.unwrap();
    assert!(matches!(state, State::Over(_)), "{state:?}");
    let said = said.into_inner().unwrap();
    assert!(said.len() == 1 && said[0].contains("run far-away") && said[0].contains("for 1 s"), "{said:?}");
}
