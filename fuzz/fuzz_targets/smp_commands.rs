//! What a client sends: a block's content, its transmissions, their commands. The first byte chooses the version.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::smp::batch::Batch;
use protocol::smp::command::Command;
use protocol::smp::proxy::forward::Forward;
use protocol::smp::transmission::Transmission;

fuzz_target!(|data: &[u8]| {
    let Some((&version, bytes)) = data.split_first() else { return };
    let version = 15 + u16::from(version % 4);
    let _ = Forward::parse(bytes);
    command(bytes, version);
    transmission(bytes, version);
    let Ok(batch) = Batch::parse(bytes) else { return };
    let (all, mut taken) = (batch.clone().count(), 1);
    for bytes in batch {
        transmission(bytes, version);
        taken += 2 + bytes.len();
    }
    assert!(all > 0 && taken == bytes.len(), "a batch is taken whole");
});

fn transmission(bytes: &[u8], version: u16) {
    if let Ok(transmission) = Transmission::parse(bytes, version) {
        let mut again = Vec::new();
        transmission.encode_into(version, &mut again);
        assert_eq!(again, bytes, "there is one way to write a transmission");
        command(transmission.command, version);
    }
}

fn command(bytes: &[u8], version: u16) {
    if let Ok(command) = Command::parse(bytes, version) {
        let again = command.encode(version);
        assert_eq!(Command::parse(&again, version), Ok(command.clone().into_owned()));
        for authenticator in [false, true] {
            let _ = (
                command.check_credentials(authenticator, false),
                command.check_credentials(authenticator, true),
            );
        }
    }
}
