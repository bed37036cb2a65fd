//! Who is connected to a listener: bounds its connections in all, and for each client address, so
//! that one client cannot take the places of all others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Open connections by client address.
#[derive(Debug)]
pub struct Clients {
    census: Mutex<Census>,
    all_max: usize,
    of_client_max: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Census {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
}

/// Which bound a connection meets; it is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// There are as many connections as there may be.
    All,
    /// There are as many of this address.
    Client,
}

/// The place that one connection takes; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    clients: Arc<Clients>,
    ip: IpAddr,
}

impl Clients {
    /// None yet, at most `all_max`, and of one address as many as `of_client_max` says at the time.
    pub fn new(all_max: usize, of_client_max: Arc<AtomicUsize>) -> Arc<Self> {
        Arc::new(Self {
            census: Mutex::default(),
            all_max,
            of_client_max,
        })
    }

    /// Counts a connection in. An IPv4 address mapped into IPv6 is the IPv4 address.
    ///
    /// # Errors
    /// [`Full`].
    pub fn enter(self: &Arc<Self>, ip: IpAddr) -> Result<Place, Full> {
        let ip = ip.to_canonical();
        let mut census = self.lock();
        if census.total >= self.all_max {
            return Err(Full::All);
        }
        let of_client = census.by_ip.get(&ip).copied().unwrap_or_default();
        if of_client >= self.of_client_max.load(Ordering::Relaxed) {
            return Err(Full::Client);
        }
        census.total += 1;
        census.by_ip.insert(ip, of_client + 1);
        drop(census);
        let clients = Arc::clone(self);
        Ok(Place { clients, ip })
    }

    /// A panic elsewhere does not make the counts useless.
    fn lock(&self) -> MutexGuard<'_, Census> {
        self.census.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut census = self.clients.lock();
        census.total = census.total.saturating_sub(1);
        if let Some(of_client) = census.by_ip.get_mut(&self.ip) {
            *of_client -= 1;
            if *of_client == 0 {
                census.by_ip.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_per_client_and_in_all() {
        let clients = Clients::new(3, Arc::new(AtomicUsize::new(2)));
        let [first, second] = [[127, 0, 0, 1], [127, 0, 0, 2]].map(IpAddr::from);
        let mapped = IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0x7f00, 1]);
        let place = clients.enter(first).unwrap();
        let _other = clients.enter(mapped).unwrap();
        assert_eq!(clients.enter(first).unwrap_err(), Full::Client);
        let _third = clients.enter(second).unwrap();
        assert_eq!(clients.enter(second).unwrap_err(), Full::All);
        drop(place);
        assert!(clients.enter(second).is_ok());
    }
}
