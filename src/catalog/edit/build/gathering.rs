//! The services of a state in the making. Their instances come node by node, so each is put aside
//! at its service, and the services are made whole at the end, one beside the other.

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use imbl::OrdSet;

use crate::catalog::edit::Broken;
use crate::catalog::edit::instances::distinct;
use crate::catalog::keyed::{Addressed, ByOwner, Counted, Rounds};
use crate::catalog::parallel;
use crate::catalog::state::{Instance, ServiceEntry, State};
use crate::types::{Service, ServiceName};

/// Services in the order of their names, and where each of them is.
#[derive(Debug, Default)]
pub(super) struct Gatherings {
    all: Vec<Gathering>,
    places: HashMap<ServiceName, usize>,
    /// Tags that services began to have, in ASCII lower case.
    tags: Counted<Arc<str>>,
}

/// One service, and what runs of it.
#[derive(Debug)]
struct Gathering {
    /// Without the instances.
    entry: ServiceEntry,
    /// In their order.
    instances: Vec<Arc<Instance>>,
    /// How many at the end have the same tags, which are not counted yet.
    alike: u32,
}

impl Gatherings {
    /// Adds a service, whose instances are still to come.
    pub(super) fn add(&mut self, entry: ServiceEntry) -> Result<(), Broken> {
        let last = self.all.last();
        if last.is_some_and(|last| last.entry.name >= entry.name) {
            return Err(Broken("services are not in order"));
        }
        self.places.insert(entry.name.clone(), self.all.len());
        self.all.push(Gathering {
            entry,
            instances: Vec::new(),
            alike: 0,
        });
        Ok(())
    }

    /// Adds an instance that `make` makes of its registration, which shares with its service what
    /// both have. It comes after those of its service that are here.
    pub(super) fn host(
        &mut self,
        mut service: Service,
        make: impl FnOnce(Service) -> Instance,
    ) -> Result<Arc<Instance>, Broken> {
        let place = self.places.get(&service.name);
        let gathering = place.and_then(|place| self.all.get_mut(*place));
        let gathering = gathering.ok_or(Broken("an instance without its service"))?;
        let same_tags = |last: &Arc<Instance>| last.service.tags == service.tags;
        if !gathering.instances.last().is_some_and(same_tags) {
            gathering.count(&mut self.tags);
        }
        gathering.alike += 1;
        let neighbour = gathering.instances.last();
        gathering.entry.share_with(neighbour, &mut service);
        let instance = Arc::new(make(service));
        gathering.instances.push(Arc::clone(&instance));
        Ok(instance)
    }

    /// Puts all services into `state`.
    pub(super) fn finish(mut self, state: &mut State) -> Result<(), Broken> {
        for gathering in &mut self.all {
            gathering.count(&mut self.tags);
            if gathering.instances.is_empty() {
                return Err(Broken("a service without instances"));
            }
        }
        state.tags = self.tags;
        let (addresses, made) = thread::scope(|scope| {
            let counting = || Counted::of_sorted(addresses(&self.all));
            let counting = thread::Builder::new().spawn_scoped(scope, counting);
            let made = parallel::map(&self.all, Gathering::set);
            // Where the system refuses a thread, this one does all of it.
            let addresses = match counting {
                Ok(counting) => counting.join().unwrap_or_else(|panic| resume_unwind(panic)),
                Err(_) => Counted::of_sorted(addresses(&self.all)),
            };
            (addresses, made)
        });
        state.service_addresses = addresses;
        for (gathering, instances) in self.all.into_iter().zip(made) {
            let mut entry = gathering.entry;
            entry.instances = instances;
            state.services.insert(entry.name.clone(), Arc::new(entry));
        }
        Ok(())
    }
}

/// The services' addresses, in order.
fn addresses(all: &[Gathering]) -> Vec<Addressed<ServiceName>> {
    let count = all.iter().map(|gathering| gathering.instances.len()).sum();
    let mut addresses = Vec::with_capacity(count);
    for Gathering {
        entry, instances, ..
    } in all
    {
        let own = instances
            .iter()
            .filter_map(|instance| instance.service.address.ip());
        addresses.extend(own.map(|ip| Addressed::new(ip, entry.name.clone())));
    }
    addresses.sort_unstable();
    addresses
}

impl Gathering {
    /// Counts the tags of those at the end. `new` takes the ones that the service did not have.
    fn count(&mut self, new: &mut Counted<Arc<str>>) {
        let times = std::mem::take(&mut self.alike);
        let Some(last) = self.instances.last().filter(|_| times > 0) else {
            return;
        };
        for tag in distinct(&last.service.tags) {
            if self.entry.tags.add_times(Arc::clone(tag), times) {
                new.add(tag.to_ascii_lowercase().into());
            }
        }
    }

    fn set(&self) -> OrdSet<ByOwner> {
        Rounds::new(self.instances.iter().cloned().map(ByOwner)).collect()
    }
}
