//! What stands on disk is for the owner of the process: queues' secrets and waiting messages.

use std::os::unix::fs::PermissionsExt as _;

use smp_server::identity::Identity;

use crate::client::{Client, MESSAGING, message};
use crate::host::Host;

#[tokio::test]
async fn the_database_and_its_logs_are_for_their_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let identity = Identity::generate("127.0.0.1").unwrap().identity;
    let host = Host::start_in(directory.path(), "", &identity).await;
    let mut client = Client::connect(&host).await;
    let queue = client.create(MESSAGING, false).await;
    client.ok(None, queue.ids.sender_id, &message(b"hello")).await;
    let mut names = Vec::new();
    let mut places = vec![directory.path().to_owned()];
    while let Some(place) = places.pop() {
        for entry in std::fs::read_dir(place).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(metadata.permissions().mode() & 0o777, expected, "{:?}", entry.file_name());
            names.push(entry.file_name().into_string().unwrap());
            if metadata.is_dir() {
                places.push(entry.path());
            }
        }
    }
    for end in ["-wal", ".log"] {
        assert!(names.iter().any(|name| name.ends_with(end)), "{end} in {names:?}");
    }
}
