//! How the members of a pool see each other, and whether they are right.

use herald::gossip::swim::State;

use super::{Member, Network, index_of};

impl Network {
    /// Accusations that members had to refute.
    pub(crate) fn refutations(&self) -> u64 {
        let own = |member: &Member| {
            let incarnation = member.swim.find(&member.swim.own().name).map(|(.., i)| i);
            u64::from(incarnation.expect("each knows itself")) - 1
        };
        self.members.iter().map(own).sum()
    }

    /// Whether all who run take exactly each other for alive.
    pub(crate) fn agrees(&self) -> Result<(), String> {
        let running = self.members.iter().filter(|member| member.running).count();
        self.each_view(|_, state, running| (state == State::Alive) == running)?;
        for member in self.members.iter().filter(|member| member.running) {
            let known = member
                .swim
                .nodes()
                .filter(|node| node.1 == State::Alive)
                .count();
            if known != running {
                let name = &member.swim.own().name;
                return Err(format!("{name} knows {known} of {running}"));
            }
        }
        Ok(())
    }

    /// Whether nobody who runs takes somebody for live who does not.
    pub(crate) fn knows_the_dead(&self) -> Result<(), String> {
        self.each_view(|_, state, running| {
            running || !matches!(state, State::Alive | State::Suspect)
        })
    }

    fn each_view(&self, right: impl Fn(usize, State, bool) -> bool) -> Result<(), String> {
        for member in self.members.iter().filter(|member| member.running) {
            for (node, state) in member.swim.nodes() {
                let index = index_of(node.address);
                let running = self.members[index].running;
                if !right(index, state, running) {
                    let (own, name) = (&member.swim.own().name, &node.name);
                    let what = if running { "runs" } else { "does not run" };
                    return Err(format!("{own} takes {name}, which {what}, for {state:?}"));
                }
            }
        }
        Ok(())
    }
}
