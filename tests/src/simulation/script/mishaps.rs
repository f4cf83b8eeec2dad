//! What is done to programs and servers.

use super::{HOUR, MINUTE, SECOND, Script};

impl Script {
    pub(super) fn go_away(&mut self) -> anyhow::Result<()> {
        let clients = self.clients.clone();
        let Some(person) = self.world.chance.pick(&clients) else { return Ok(()) };
        let long = self.world.chance.pick(&[MINUTE, 10 * MINUTE, 3 * HOUR]).unwrap_or(MINUTE);
        let ms = self.world.chance.between(SECOND, long);
        self.world.kill(person, "to be away", Some(ms));
        Ok(())
    }

    pub(super) fn restart_relay(&mut self) -> anyhow::Result<()> {
        let relays = self.relays.clone();
        let Some(relay) = self.world.chance.pick(&relays) else { return Ok(()) };
        let ms = self.world.chance.between(SECOND, 20 * MINUTE);
        self.world.kill(relay, "at its operator's hand", Some(ms));
        Ok(())
    }

    pub(super) fn server_down(&mut self) -> anyhow::Result<()> {
        let server = self.world.chance.below(self.world.network.servers.len());
        let long = self.world.chance.pick(&[MINUTE, 10 * MINUTE, HOUR]).unwrap_or(MINUTE);
        let ms = self.world.chance.between(SECOND, long);
        self.world.stop_server(server, ms);
        Ok(())
    }

    pub(super) fn clock_jumps(&mut self) -> anyhow::Result<()> {
        let program = self.world.chance.below(self.world.programs.len());
        let jump = self.world.chance.pick(&[-5 * MINUTE, -SECOND, MINUTE, HOUR]).unwrap_or(0);
        self.world.jump(program, jump);
        Ok(())
    }
}
