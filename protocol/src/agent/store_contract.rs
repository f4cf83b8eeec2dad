//! What every [`AgentStore`] must do, as a check that its tests call on a fresh, empty store.

use super::store::{AgentStore, BodyId, ConnectionId, JobId};
use crate::smp::address::{KeyHash, ServerAddress};
use crate::smp::host::Host;
use crate::smp::ids::RecipientId;
use crate::timestamp::Timestamp;

/// Runs the contract on an empty store.
///
/// # Panics
/// When the store breaks it; the message says where.
pub fn check<S: AgentStore>(store: &mut S) {
    records_are_replaced_and_deleted(store);
    queues_lead_to_connections(store);
    jobs_are_first_in_first_out(store);
    bodies_live_as_long_as_their_jobs(store);
    hashes_are_forgotten_by_age(store);
    a_connection_takes_everything_with_it(store);
}

fn records_are_replaced_and_deleted<S: AgentStore>(store: &mut S) {
    let first = insert(store, b"one");
    let second = insert(store, b"");
    assert_ne!(first, second, "ids are unique");
    store.update_connection(first, b"two").expect("a connection can be updated");
    assert_eq!(store.connection(first).expect("a record can be read"), Some(b"two".to_vec()));
    assert_eq!(store.connection(second).expect("a record can be read"), Some(vec![]), "empty is not absent");
    store.delete_connection(second).expect("a connection can be deleted");
    store.delete_connection(second).expect("deleting again does nothing");
    assert_eq!(store.connection(second).expect("absence can be read"), None);
    assert!(store.update_connection(second, b"three").is_err(), "a deleted connection cannot be updated");
    let third = insert(store, b"three");
    assert!(third != second && third != first, "ids are not reused");
    for id in [first, third] {
        store.delete_connection(id).expect("a connection can be deleted");
    }
}

fn queues_lead_to_connections<S: AgentStore>(store: &mut S) {
    let (first, second) = (insert(store, b"one"), insert(store, b"two"));
    let (here, there) = (server("here.example"), server("there.example"));
    let queues = [RecipientId([1; 24]), RecipientId([2; 24]), RecipientId([3; 24])];
    let [low, middle, high] = queues;
    for (id, server, queue) in [(second, &here, low), (first, &here, high), (first, &there, middle)] {
        store.add_queue(id, server, &queue).expect("a queue can be added");
    }
    store.add_queue(first, &here, &high).expect("adding the same again does nothing");
    assert!(store.add_queue(second, &here, &high).is_err(), "a queue has one connection");
    assert!(
        store.add_queue(ConnectionId(i64::MAX), &here, &middle).is_err(),
        "of a connection that is there"
    );
    assert_eq!(store.connection_of_queue(&here, &low).expect("a queue can be found"), Some(second));
    assert_eq!(store.connection_of_queue(&there, &low).expect("absence can be found"), None);

    let all = [(first, there.clone(), middle), (first, here.clone(), high), (second, here.clone(), low)];
    assert_eq!(store.queues_after(None, 10).expect("queues can be listed"), all, "by connection, then id");
    let mut paged = Vec::new();
    while let Some(last) = {
        let after =
            paged.last().map(|(id, _, queue): &(ConnectionId, ServerAddress, RecipientId)| (*id, *queue));
        store.queues_after(after, 1).expect("queues can be paged").pop()
    } {
        paged.push(last);
    }
    assert_eq!(paged, all, "pages give the same");

    store.remove_queue(&here, &high).expect("a queue can be removed");
    store.remove_queue(&here, &high).expect("removing again does nothing");
    assert_eq!(store.connection_of_queue(&here, &high).expect("absence can be found"), None);
    for id in [first, second] {
        store.delete_connection(id).expect("a connection can be deleted");
    }
    assert_eq!(store.queues_after(None, 10).expect("queues can be listed"), [], "queues go with connections");
}

fn jobs_are_first_in_first_out<S: AgentStore>(store: &mut S) {
    let (first, second) = (insert(store, b"one"), insert(store, b"two"));
    let jobs: Vec<JobId> = [(first, b"a"), (second, b"x"), (first, b"b")]
        .into_iter()
        .map(|(id, job)| store.push_job(id, job, None).expect("a job can be pushed"))
        .collect();
    assert!(jobs.is_sorted(), "later jobs have higher ids");
    assert_eq!(store.connections_with_jobs().expect("jobs can be listed"), [first, second]);
    let (a, bytes) = first_job(store, first).expect("there is a job");
    assert_eq!((Some(&a), bytes.as_slice()), (jobs.first(), &b"a"[..]));
    store.update_job(a, b"a, tried once").expect("a job can be updated");
    assert_eq!(first_job(store, first), Some((a, b"a, tried once".to_vec())), "an update keeps its place");
    store.delete_job(a).expect("a job can be deleted");
    store.delete_job(a).expect("deleting again does nothing");
    assert!(store.update_job(a, b"").is_err(), "a deleted job cannot be updated");
    let (b, bytes) = first_job(store, first).expect("there is a second job");
    assert_eq!(bytes, b"b");
    store.delete_job(b).expect("a job can be deleted");
    assert_eq!(first_job(store, first), None);
    assert_eq!(store.connections_with_jobs().expect("jobs can be listed"), [second]);
    let again = store.push_job(first, b"c", None).expect("a job can be pushed");
    assert!(again > b, "ids are not reused, even of the last job");
    assert!(store.push_job(ConnectionId(i64::MAX), b"", None).is_err(), "a job needs its connection");
    for id in [first, second] {
        store.delete_connection(id).expect("a connection can be deleted");
    }
    assert_eq!(store.connections_with_jobs().expect("jobs can be listed"), [], "jobs go with connections");
}

fn bodies_live_as_long_as_their_jobs<S: AgentStore>(store: &mut S) {
    let (first, second) = (insert(store, b"one"), insert(store, b"two"));
    let body = store.put_body(b"to everybody").expect("a body can be stored");
    let job = store.push_job(first, b"a", Some(body)).expect("a job can name a body");
    store.push_job(second, b"b", Some(body)).expect("a second job can name it");
    assert!(store.push_job(first, b"c", Some(BodyId(i64::MAX))).is_err(), "a body must be there");
    store.delete_job(job).expect("a job can be deleted");
    assert_eq!(store.body(body).expect("a body can be read"), Some(b"to everybody".to_vec()));
    store.delete_connection(second).expect("a connection can be deleted");
    assert_eq!(store.body(body).expect("absence can be read"), None, "the last job takes its body along");
    store.delete_connection(first).expect("a connection can be deleted");
}

fn hashes_are_forgotten_by_age<S: AgentStore>(store: &mut S) {
    let (first, second) = (insert(store, b"one"), insert(store, b"two"));
    let hash = [7; 32];
    store.remember_hash(first, &hash, Timestamp(1000)).expect("a hash can be remembered");
    store.remember_hash(first, &hash, Timestamp(5000)).expect("again is allowed");
    store.remember_hash(first, &[8; 32], Timestamp(2000)).expect("a hash can be remembered");
    assert!(store.knows_hash(first, &hash).expect("a hash can be looked up"));
    assert!(!store.knows_hash(second, &hash).expect("a hash can be looked up"), "each connection its own");
    store.forget_before(Timestamp(2000)).expect("hashes can be forgotten");
    assert!(!store.knows_hash(first, &hash).expect("a hash can be looked up"), "the first moment counts");
    assert!(
        store.knows_hash(first, &[8; 32]).expect("a hash can be looked up"),
        "not what is as old as that"
    );
    for id in [first, second] {
        store.delete_connection(id).expect("a connection can be deleted");
    }
}

fn a_connection_takes_everything_with_it<S: AgentStore>(store: &mut S) {
    let (first, second) = (insert(store, b"one"), insert(store, b"two"));
    let (here, queue) = (server("here.example"), RecipientId([9; 24]));
    store.add_queue(first, &here, &queue).expect("a queue can be added");
    store.push_job(first, b"a", None).expect("a job can be pushed");
    let kept = store.push_job(second, b"b", None).expect("a job can be pushed");
    store.remember_hash(first, &[1; 32], Timestamp(0)).expect("a hash can be remembered");
    store.delete_connection(first).expect("a connection can be deleted");
    assert_eq!(store.connection_of_queue(&here, &queue).expect("absence can be found"), None);
    assert_eq!(first_job(store, first), None);
    assert!(!store.knows_hash(first, &[1; 32]).expect("a hash can be looked up"));
    assert_eq!(first_job(store, second), Some((kept, b"b".to_vec())), "others keep theirs");
    store.delete_connection(second).expect("a connection can be deleted");
}

fn insert<S: AgentStore>(store: &mut S, record: &[u8]) -> ConnectionId {
    store.insert_connection(record).expect("a connection can be inserted")
}

fn first_job<S: AgentStore>(store: &mut S, id: ConnectionId) -> Option<(JobId, Vec<u8>)> {
    store.first_job(id).expect("jobs can be read")
}

fn server(host: &str) -> ServerAddress {
    let host: Host = host.parse().expect("a domain name is a host");
    ServerAddress::new(vec![host], None, KeyHash::from([0; 32])).expect("one host is enough")
}
