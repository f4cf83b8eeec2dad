//! The relay as a service of servers: see `migrations/sqlite/0009_services.sql`.

use protocol::encoding::{Decode as _, Encode as _};
use protocol::net::network::Services;
use protocol::net::service::ServiceSeed;
use protocol::smp::address::ServerAddress;

use super::{SqlStore, stored};
use crate::store::StoreError;

impl SqlStore {
    /// Draws the seed if there is none yet.
    pub(super) fn read_services(&mut self) -> Result<Services, StoreError> {
        let drawn = ServiceSeed::generate();
        let sql = "INSERT INTO service_seed VALUES (1, ?1) ON CONFLICT DO NOTHING";
        self.run(sql, &[&drawn.as_bytes().as_slice()])?;
        let seed: Option<Vec<u8>> = self.one("SELECT seed FROM service_seed", &[], |row| row.get(0))?;
        let seed = seed.ok_or(StoreError::Missing)?.try_into();
        let surplus = self.all("SELECT server, queues FROM service_surplus", &[], |row| {
            let server: Vec<u8> = row.get(0)?;
            Ok((stored(ServerAddress::from_bytes(&server))?, row.get(1)?))
        })?;
        let damaged = |_| StoreError::Damaged("the seed of services".to_owned());
        Ok(Services {
            seed: ServiceSeed::new(seed.map_err(damaged)?),
            surplus: surplus.into_iter().collect(),
        })
    }

    /// Servers do not know us any more then: each queue is asked for once.
    pub(super) fn forget_services(&mut self) -> Result<(), StoreError> {
        self.run("DELETE FROM service_seed", &[])?;
        self.run("DELETE FROM service_surplus", &[])?;
        Ok(())
    }

    pub(super) fn write_surplus(&mut self, server: &ServerAddress, queues: i64) -> Result<(), StoreError> {
        self.run(
            "INSERT INTO service_surplus VALUES (?1, ?2)
             ON CONFLICT (server) DO UPDATE SET queues = excluded.queues",
            &[&server.to_bytes(), &queues],
        )?;
        Ok(())
    }
}
