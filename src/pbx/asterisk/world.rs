//! What Asterisk has right now, as far as it was told: channels, bridges, and who hears whom.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::event::{Bridge, Channel};

/// Most channels that are followed; more are not seen until others end.
pub(super) const CHANNELS_MAX: usize = 20_000;

/// Ended channels that are remembered.
const GONE_MAX: usize = 64;

/// Technologies that are never a person: our own channels and Asterisk's helpers.
const MACHINERY: [&str; 13] = [
    "Snoop",
    "UnicastRTP",
    "MulticastRTP",
    "AudioSocket",
    "WebSocket",
    "Recorder",
    "Announcer",
    "CBAnn",
    "CBRec",
    "Surrogate",
    "Message",
    "Bridge",
    "ConfBridgeRecorder",
];

/// What a channel is to us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Role {
    /// An outgoing channel that nothing is known about yet.
    #[default]
    Unplaced,
    /// The caller of the call with this key.
    Caller(String),
    /// An end of the call with this key.
    Leg(String),
    /// Half of a Local channel on the way to an end of the call with this key.
    Relay(String),
    /// Snoop and external media, machinery, calls to the bridge itself.
    Ignored,
}

/// One channel with what we made of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) channel: Channel,
    pub(super) role: Role,
    /// The connection during which it was last heard of.
    pub(super) epoch: u32,
}

/// All channels and bridges.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    channels: HashMap<String, Seen>,
    bridges: HashMap<String, BTreeSet<String>>,
    /// Bridges that are parking places: those in them do not hear each other.
    parking: BTreeSet<String>,
    /// Which bridge a channel is in.
    place: HashMap<String, String>,
    /// Channel ids of the halves of Local channels, by name without `;1` or `;2`.
    halves: HashMap<String, BTreeSet<String>>,
    /// The last channels that ended: what is reported of them afterwards comes late.
    gone: VecDeque<String>,
}

impl World {
    /// Notes a channel's present state; false when there are too many.
    pub(super) fn note(&mut self, channel: &Channel, epoch: u32) -> bool {
        if let Some(seen) = self.channels.get_mut(&channel.id) {
            seen.channel = channel.clone();
            seen.epoch = epoch;
            return true;
        }
        if self.channels.len() >= CHANNELS_MAX || self.gone.contains(&channel.id) {
            return false;
        }
        let role = if MACHINERY.contains(&channel.technology()) { Role::Ignored } else { Role::Unplaced };
        if let Some(pair) = pair(channel) {
            self.halves.entry(pair).or_default().insert(channel.id.clone());
        }
        self.channels.insert(channel.id.clone(), Seen { channel: channel.clone(), role, epoch });
        true
    }

    pub(super) fn set_role(&mut self, id: &str, role: Role) {
        if let Some(seen) = self.channels.get_mut(id) {
            seen.role = role;
        }
    }

    /// Forgets a channel.
    pub(super) fn remove(&mut self, id: &str) -> Option<Seen> {
        self.leave(id);
        let seen = self.channels.remove(id)?;
        if self.gone.len() >= GONE_MAX {
            self.gone.pop_front();
        }
        self.gone.push_back(id.into());
        if let Some(pair) = pair(&seen.channel)
            && let Some(halves) = self.halves.get_mut(&pair)
        {
            halves.remove(id);
            if halves.is_empty() {
                self.halves.remove(&pair);
            }
        }
        Some(seen)
    }

    /// Puts a channel into a bridge (and out of any other).
    pub(super) fn enter(&mut self, bridge: &Bridge, id: &str) {
        self.leave(id);
        if self.place.len() < CHANNELS_MAX && !self.gone.iter().any(|gone| gone == id) {
            self.place.insert(id.into(), bridge.id.clone());
            self.bridges.entry(bridge.id.clone()).or_default().insert(id.into());
            if bridge.parking {
                self.parking.insert(bridge.id.clone());
            }
        }
    }

    /// Takes a channel out of this bridge; it may be in another one by now.
    pub(super) fn leave_bridge(&mut self, bridge: &str, id: &str) {
        if self.place.get(id).is_some_and(|place| place == bridge) {
            self.leave(id);
        }
    }

    /// Whether a channel stands in a parking place.
    pub(super) fn is_parked(&self, id: &str) -> bool {
        self.place.get(id).is_some_and(|bridge| self.parking.contains(bridge))
    }

    /// Takes a channel out of its bridge.
    pub(super) fn leave(&mut self, id: &str) {
        if let Some(bridge) = self.place.remove(id)
            && let Some(members) = self.bridges.get_mut(&bridge)
        {
            members.remove(id);
            if members.is_empty() {
                self.bridges.remove(&bridge);
                self.parking.remove(&bridge);
            }
        }
    }

    /// Takes everybody out of a bridge.
    pub(super) fn remove_bridge(&mut self, bridge: &str) {
        self.parking.remove(bridge);
        for id in self.bridges.remove(bridge).unwrap_or_default() {
            self.place.remove(&id);
        }
    }

    /// Replaces all bridges by what a list says.
    pub(super) fn set_bridges(&mut self, bridges: &[Bridge]) {
        self.bridges.clear();
        self.place.clear();
        self.parking.clear();
        for bridge in bridges {
            for id in &bridge.channels {
                self.enter(bridge, id);
            }
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<&Seen> {
        self.channels.get(id)
    }

    pub(super) fn role(&self, id: &str) -> Option<&Role> {
        self.channels.get(id).map(|seen| &seen.role)
    }

    /// Channels not heard of since connection `epoch`, and not in `listed`.
    pub(super) fn missing(&self, epoch: u32, listed: &BTreeSet<&str>) -> Vec<String> {
        let missing = |(id, seen): &(&String, &Seen)| seen.epoch < epoch && !listed.contains(id.as_str());
        let mut ids: Vec<String> = self.channels.iter().filter(missing).map(|(id, _)| id.clone()).collect();
        ids.sort();
        ids
    }

    /// Both halves of a Local channel (the given one included).
    pub(super) fn halves(&self, channel: &Channel) -> Vec<String> {
        let halves = pair(channel).and_then(|pair| self.halves.get(&pair));
        halves.map(|halves| halves.iter().cloned().collect()).unwrap_or_default()
    }

    /// Everybody that a channel is connected with by bridges and Local channels, itself included.
    pub(super) fn connected(&self, id: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::from([id.to_string()]);
        let mut open = vec![id.to_string()];
        while let Some(id) = open.pop() {
            let place = self.place.get(&id).filter(|bridge| !self.parking.contains(*bridge));
            let members = place.and_then(|bridge| self.bridges.get(bridge));
            let halves = self.channels.get(&id).map(|seen| self.halves(&seen.channel)).unwrap_or_default();
            for next in members.into_iter().flatten().chain(&halves) {
                if found.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        found
    }

    /// Ids and names of all channels, for tests.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.channels.is_empty()
            && self.bridges.is_empty()
            && self.place.is_empty()
            && self.halves.is_empty()
            && self.parking.is_empty()
    }
}

/// Calls by key, in a stable order.
pub(super) type ByKey<T> = BTreeMap<String, T>;

/// `Local/2001@agents-00000000;2` → `Local/2001@agents-00000000`.
fn pair(channel: &Channel) -> Option<String> {
    if channel.technology() != "Local" {
        return None;
    }
    channel.name.rsplit_once(';').map(|(name, _)| name.to_string())
}
