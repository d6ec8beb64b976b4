//! TCP as a machine of events: segments that land, acknowledgements that come back, resets.
//!
//! Rule: what happens to a segment is judged when it lands: a cut holds it for retransmission, a
//! host without power is silent, a host that has rebooted or closed answers with RST. Must never:
//! tell one end about the other's death by any way but a segment that crossed the wire.

use super::{
    HostId, Place,
    weather::{Weather, Wires},
};
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    task::Waker,
};

/// One connection's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnId(pub(super) u64);

/// One attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DialId(pub(super) u64);

/// What has been going on, for coverage checks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Segments that landed.
    pub landed: u64,
    /// Landings held back by a cut or a silent host.
    pub held: u64,
    /// Resets that landed.
    pub resets: u64,
    /// SYNs that were not answered.
    pub syn_retries: u64,
    /// Writes that had to wait for room.
    pub waits: u64,
}

#[derive(Debug)]
pub(super) enum Event {
    Syn(DialId),
    SynAck(DialId),
    Refused(DialId),
    Open { conn: ConnId, rto: u64 },
    Land { conn: ConnId, from: usize },
    Ack { conn: ConnId, from: usize, bytes: usize, rto: u64 },
    Reset { conn: ConnId, to: usize },
}

#[derive(Debug)]
pub(super) enum Segment {
    Data(Vec<u8>),
    Fin,
}

/// One direction of a connection: written by one end, read by the other.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) flight: VecDeque<(u64, Segment)>,
    /// A `Land` event is scheduled for the front of `flight`.
    pub(super) scheduled: bool,
    /// The front waits for the reader to make room.
    pub(super) window_closed: bool,
    pub(super) rto: u64,
    pub(super) unacked: usize,
    pub(super) ready: VecDeque<u8>,
    pub(super) fin_sent: bool,
    pub(super) fin: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) place: Place,
    /// The application has let go of it.
    pub(super) gone: bool,
    /// A reset has landed here.
    pub(super) reset: bool,
}

/// `pipes[i]` is written by `ends[i]`; end 0 dialled, end 1 listened.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) ends: [End; 2],
    pub(super) pipes: [Pipe; 2],
    pub(super) port: u16,
    pub(super) from_port: u16,
    /// It is (or was) in the listener's backlog or accepted.
    pub(super) known_to_listener: bool,
}

#[derive(Debug)]
pub(super) struct Dial {
    pub(super) from: Place,
    pub(super) to: HostId,
    pub(super) port: u16,
    pub(super) tries: u32,
    pub(super) conn: Option<ConnId>,
    pub(super) outcome: Option<io::Result<ConnId>>,
    pub(super) waker: Option<Waker>,
}

#[derive(Debug, Default)]
pub(super) struct Backlog {
    pub(super) waiting: VecDeque<ConnId>,
    pub(super) waker: Option<Waker>,
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) powered: bool,
    pub(super) epoch: u32,
}

/// The whole network.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) wires: Wires,
    pub(super) traffic: Traffic,
    pub(super) hosts: Vec<Host>,
    pub(super) events: BTreeMap<(u64, u64), Event>,
    pub(super) next: u64,
    pub(super) conns: BTreeMap<ConnId, Conn>,
    pub(super) dials: BTreeMap<DialId, Dial>,
    pub(super) listeners: BTreeMap<(HostId, u16), (u32, Backlog)>,
    pub(super) ephemeral: u16,
    pub(super) wakes: Vec<Waker>,
}

pub(super) fn wake(list: &mut Vec<Waker>, waker: &mut Option<Waker>) {
    list.extend(waker.take());
}

impl Model {
    pub(super) fn new(seed: u64) -> Model {
        Model {
            wires: Wires::new(seed),
            traffic: Traffic::default(),
            hosts: Vec::new(),
            events: BTreeMap::new(),
            next: 0,
            conns: BTreeMap::new(),
            dials: BTreeMap::new(),
            listeners: BTreeMap::new(),
            ephemeral: 0,
            wakes: Vec::new(),
        }
    }

    /// Wakers to call once the model is unlocked.
    pub(super) fn take_wakes(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakes)
    }

    /// When the next event is due.
    pub(super) fn due(&self) -> Option<u64> {
        self.events.keys().next().map(|(at, _)| *at)
    }

    pub(super) fn schedule(&mut self, at: u64, event: Event) {
        self.next += 1;
        self.events.insert((at, self.next), event);
    }

    pub(super) fn add_host(&mut self, name: &str) -> HostId {
        let id = HostId(u32::try_from(self.hosts.len()).expect("hosts are few"));
        self.hosts.push(Host { name: name.to_owned(), powered: false, epoch: 0 });
        id
    }

    pub(super) fn power_on(&mut self, host: HostId) -> Place {
        let machine = &mut self.hosts[host.0 as usize];
        machine.powered = true;
        machine.epoch += 1;
        Place { host, epoch: machine.epoch }
    }

    /// Everything stops at once; nobody is told.
    pub(super) fn power_off(&mut self, host: HostId) {
        let machine = &mut self.hosts[host.0 as usize];
        machine.powered = false;
        machine.epoch += 1;
        self.listeners.retain(|(owner, _), _| *owner != host);
        self.dials.retain(|_, dial| dial.from.host != host);
    }

    /// The process dies, its kernel lives: sockets are closed (FIN, or RST with unread data), and
    /// until a new incarnation listens, connections are refused.
    pub(super) fn kill_process(&mut self, place: Place, now: u64) {
        if !self.alive(place) {
            return;
        }
        let ends: Vec<(ConnId, usize)> = self
            .conns
            .iter()
            .flat_map(|(id, conn)| (0..2).map(move |end| (*id, end, conn)))
            .filter(|(_, end, conn)| conn.ends[*end].place == place && !conn.ends[*end].gone)
            .map(|(id, end, _)| (id, end))
            .collect();
        for (id, end) in ends {
            self.close(id, end, now);
        }
        self.listeners.retain(|(owner, _), _| *owner != place.host);
        self.dials.retain(|_, dial| dial.from != place);
    }

    pub(super) fn alive(&self, place: Place) -> bool {
        let host = &self.hosts[place.host.0 as usize];
        host.powered && host.epoch == place.epoch
    }

    pub(super) fn powered(&self, host: HostId) -> bool {
        self.hosts[host.0 as usize].powered
    }

    pub(super) fn host_name(&self, host: HostId) -> &str {
        &self.hosts[host.0 as usize].name
    }

    /// Which host a name leads to, seen from `me`.
    pub(super) fn resolve(&self, me: HostId, name: &str) -> Option<HostId> {
        if matches!(name, "localhost" | "127.0.0.1" | "0.0.0.0" | "[::]" | "") {
            return Some(me);
        }
        let place = self.hosts.iter().position(|host| host.name == name)?;
        Some(HostId(place as u32))
    }

    pub(super) fn parse(&self, me: HostId, address: &str) -> io::Result<(HostId, u16)> {
        let bad = || io::Error::new(io::ErrorKind::InvalidInput, format!("bad address {address}"));
        let (name, port) = address.rsplit_once(':').ok_or_else(bad)?;
        let port = port.parse().map_err(|_| bad())?;
        let host = self.resolve(me, name).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("no such host: {name}"))
        })?;
        Ok((host, port))
    }

    /// Carries out everything that is due by `now`.
    pub(super) fn run(&mut self, now: u64) {
        while let Some(entry) = self.events.first_entry() {
            let at = entry.key().0;
            if at > now {
                return;
            }
            match entry.remove() {
                Event::Syn(id) => self.syn(id, now),
                Event::SynAck(id) => self.syn_ack(id, now),
                Event::Refused(id) => self.refused(id, now),
                Event::Open { conn, rto } => self.open(conn, rto, now),
                Event::Land { conn, from } => self.land(conn, from, now),
                Event::Ack { conn, from, bytes, rto } => self.ack(conn, from, bytes, rto, now),
                Event::Reset { conn, to } => self.reset(conn, to),
            }
        }
    }

    /// Sets the weather on all wires that have none of their own.
    pub(super) fn set_weather(&mut self, weather: Weather) {
        self.wires.set(weather);
    }
}
