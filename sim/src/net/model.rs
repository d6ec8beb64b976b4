//! TCP as a machine of events: segments that land, acknowledgements that come back, resets.
//!
//! Rule: what happens to a segment is judged when it lands: a cut holds it for retransmission, a
//! host without power is silent, a host that has rebooted or closed answers with RST. Must never:
//! tell one end about the other's death by any way but a segment that crossed the wire.

use super::{
    HostId, Place,
    weather::{RTO_MAX, RTO_MIN, SEGMENT_BYTES, Weather, Wires},
};
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    task::Waker,
};

/// Bytes a sender may have unacknowledged; more waits in the application (back-pressure).
pub const SEND_BUFFER: usize = 256 * 1024;
/// Bytes a receiver holds unread; more waits on the wire (zero window).
pub const RECEIVE_BUFFER: usize = 256 * 1024;
/// Connections waiting to be accepted; further SYNs are dropped, as a kernel does.
pub const BACKLOG: usize = 128;
/// First SYN retransmission; doubles.
const SYN_RETRY: u64 = 1_000_000_000;
/// SYN retransmissions before `TimedOut` (Linux `tcp_syn_retries` = 6).
const SYN_TRIES: u32 = 6;

/// One connection's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnId(u64);

/// One attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DialId(u64);

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
enum Event {
    Syn(DialId),
    SynAck(DialId),
    Refused(DialId),
    Open { conn: ConnId, rto: u64 },
    Land { conn: ConnId, from: usize },
    Ack { conn: ConnId, from: usize, bytes: usize, rto: u64 },
    Reset { conn: ConnId, to: usize },
}

#[derive(Debug)]
enum Segment {
    Data(Vec<u8>),
    Fin,
}

/// One direction of a connection: written by one end, read by the other.
#[derive(Debug, Default)]
struct Pipe {
    flight: VecDeque<(u64, Segment)>,
    /// A `Land` event is scheduled for the front of `flight`.
    scheduled: bool,
    /// The front waits for the reader to make room.
    window_closed: bool,
    rto: u64,
    unacked: usize,
    ready: VecDeque<u8>,
    fin_sent: bool,
    fin: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Debug)]
struct End {
    place: Place,
    /// The application has let go of it.
    gone: bool,
    /// A reset has landed here.
    reset: bool,
}

/// `pipes[i]` is written by `ends[i]`; end 0 dialled, end 1 listened.
#[derive(Debug)]
struct Conn {
    ends: [End; 2],
    pipes: [Pipe; 2],
    port: u16,
    from_port: u16,
    /// It is (or was) in the listener's backlog or accepted.
    known_to_listener: bool,
}

#[derive(Debug)]
struct Dial {
    from: Place,
    to: HostId,
    port: u16,
    tries: u32,
    conn: Option<ConnId>,
    outcome: Option<io::Result<ConnId>>,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
struct Backlog {
    waiting: VecDeque<ConnId>,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Host {
    name: String,
    powered: bool,
    epoch: u32,
}

/// The whole network.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) wires: Wires,
    pub(super) traffic: Traffic,
    hosts: Vec<Host>,
    events: BTreeMap<(u64, u64), Event>,
    next: u64,
    conns: BTreeMap<ConnId, Conn>,
    dials: BTreeMap<DialId, Dial>,
    listeners: BTreeMap<(HostId, u16), (u32, Backlog)>,
    ephemeral: u16,
    wakes: Vec<Waker>,
}

fn wake(list: &mut Vec<Waker>, waker: &mut Option<Waker>) {
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

    fn schedule(&mut self, at: u64, event: Event) {
        self.next += 1;
        self.events.insert((at, self.next), event);
    }

    // ---- hosts ----

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

    fn powered(&self, host: HostId) -> bool {
        self.hosts[host.0 as usize].powered
    }

    pub(super) fn host_name(&self, host: HostId) -> &str {
        &self.hosts[host.0 as usize].name
    }

    /// Which host a name leads to, seen from `me`.
    fn resolve(&self, me: HostId, name: &str) -> Option<HostId> {
        if matches!(name, "localhost" | "127.0.0.1" | "0.0.0.0" | "[::]" | "") {
            return Some(me);
        }
        let place = self.hosts.iter().position(|host| host.name == name)?;
        Some(HostId(place as u32))
    }

    fn parse(&self, me: HostId, address: &str) -> io::Result<(HostId, u16)> {
        let bad = || io::Error::new(io::ErrorKind::InvalidInput, format!("bad address {address}"));
        let (name, port) = address.rsplit_once(':').ok_or_else(bad)?;
        let port = port.parse().map_err(|_| bad())?;
        let host = self.resolve(me, name).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("no such host: {name}"))
        })?;
        Ok((host, port))
    }

    // ---- listening and dialling ----

    pub(super) fn listen(&mut self, place: Place, address: &str) -> io::Result<u16> {
        let (host, port) = self.parse(place.host, address)?;
        if host != place.host {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        if self.listeners.contains_key(&(host, port)) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        self.listeners.insert((host, port), (place.epoch, Backlog::default()));
        Ok(port)
    }

    pub(super) fn unlisten(&mut self, place: Place, port: u16, now: u64) {
        let key = (place.host, port);
        if self.listeners.get(&key).is_none_or(|(epoch, _)| *epoch != place.epoch) {
            return;
        }
        let Some((_, backlog)) = self.listeners.remove(&key) else { return };
        for conn in backlog.waiting {
            self.close(conn, 1, now);
        }
    }

    /// The next connection of a listener, with the address it comes from.
    pub(super) fn accept(
        &mut self,
        place: Place,
        port: u16,
        waker: &Waker,
    ) -> Option<(ConnId, String)> {
        let (_, backlog) = self
            .listeners
            .get_mut(&(place.host, port))
            .filter(|(epoch, _)| *epoch == place.epoch)?;
        let Some(id) = backlog.waiting.pop_front() else {
            backlog.waker = Some(waker.clone());
            return None;
        };
        let (from, port) = self.conns.get(&id).map(|c| (c.ends[0].place.host, c.from_port))?;
        Some((id, format!("{}:{port}", self.host_name(from))))
    }

    pub(super) fn dial(&mut self, from: Place, address: &str, now: u64) -> io::Result<DialId> {
        let (to, port) = self.parse(from.host, address)?;
        self.next += 1;
        let id = DialId(self.next);
        let dial = Dial { from, to, port, tries: 0, conn: None, outcome: None, waker: None };
        self.dials.insert(id, dial);
        let at = now + self.wires.flight_time(from.host, to, 0);
        self.schedule(at, Event::Syn(id));
        Ok(id)
    }

    pub(super) fn dialled(&mut self, id: DialId, waker: &Waker) -> Option<io::Result<ConnId>> {
        let dial = self.dials.get_mut(&id)?;
        if dial.outcome.is_none() {
            dial.waker = Some(waker.clone());
            return None;
        }
        self.dials.remove(&id).and_then(|dial| dial.outcome)
    }

    /// The dialler has lost interest.
    pub(super) fn abandon(&mut self, id: DialId, now: u64) {
        if let Some(Dial { outcome: Some(Ok(conn)), .. }) = self.dials.remove(&id) {
            self.close(conn, 0, now);
        }
    }

    fn syn(&mut self, id: DialId, now: u64) {
        let Some(dial) = self.dials.get(&id) else { return };
        let (from, to, port) = (dial.from, dial.to, dial.port);
        if self.wires.is_cut(from.host, to) || !self.powered(to) {
            return self.syn_again(id, now);
        }
        let back = now + self.wires.flight_time(to, from.host, 0);
        match self.listeners.get(&(to, port)) {
            None => self.schedule(back, Event::Refused(id)),
            Some((_, backlog)) if backlog.waiting.len() >= BACKLOG => self.syn_again(id, now),
            Some((epoch, _)) => {
                let server = Place { host: to, epoch: *epoch };
                self.next += 1;
                let conn = ConnId(self.next);
                self.ephemeral = self.ephemeral % 28_000 + 1;
                let end = |place| End { place, gone: false, reset: false };
                let both = Conn {
                    ends: [end(from), end(server)],
                    pipes: Default::default(),
                    port,
                    from_port: 32_768 + self.ephemeral,
                    known_to_listener: false,
                };
                self.conns.insert(conn, both);
                if let Some(dial) = self.dials.get_mut(&id) {
                    dial.conn = Some(conn);
                }
                self.schedule(back, Event::SynAck(id));
            }
        }
    }

    fn syn_again(&mut self, id: DialId, now: u64) {
        self.traffic.syn_retries += 1;
        let Some(dial) = self.dials.get_mut(&id) else { return };
        if let Some(conn) = dial.conn.take() {
            self.conns.remove(&conn);
        }
        let tries = dial.tries;
        dial.tries += 1;
        if tries >= SYN_TRIES {
            dial.outcome = Some(Err(io::ErrorKind::TimedOut.into()));
            wake(&mut self.wakes, &mut dial.waker);
            return;
        }
        self.schedule(now + (SYN_RETRY << tries), Event::Syn(id));
    }

    fn refused(&mut self, id: DialId, now: u64) {
        let Some(dial) = self.dials.get(&id) else { return };
        if self.wires.is_cut(dial.to, dial.from.host) {
            return self.syn_again(id, now);
        }
        let dial = self.dials.get_mut(&id).expect("it was there above");
        dial.outcome = Some(Err(io::ErrorKind::ConnectionRefused.into()));
        wake(&mut self.wakes, &mut dial.waker);
    }

    fn syn_ack(&mut self, id: DialId, now: u64) {
        let Some(dial) = self.dials.get(&id) else { return };
        let (from, to) = (dial.from.host, dial.to);
        let Some(conn) = dial.conn else { return };
        if self.wires.is_cut(to, from) {
            return self.syn_again(id, now);
        }
        let dial = self.dials.get_mut(&id).expect("it was there above");
        dial.outcome = Some(Ok(conn));
        wake(&mut self.wakes, &mut dial.waker);
        let at = now + self.wires.flight_time(from, to, 0);
        self.schedule(at, Event::Open { conn, rto: RTO_MIN });
    }

    fn open(&mut self, id: ConnId, rto: u64, now: u64) {
        let Some(conn) = self.conns.get(&id) else { return };
        if conn.known_to_listener {
            return;
        }
        let [client, server] = [conn.ends[0].place, conn.ends[1].place];
        if self.wires.is_cut(client.host, server.host) || !self.powered(server.host) {
            if self.alive(client) {
                self.schedule(now + rto, Event::Open { conn: id, rto: (rto * 2).min(RTO_MAX) });
            }
            return;
        }
        self.establish(id, now);
    }

    /// The listener learns of the connection.
    fn establish(&mut self, id: ConnId, now: u64) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.known_to_listener {
            return;
        }
        conn.known_to_listener = true;
        let server = conn.ends[1].place;
        match self.listeners.get_mut(&(server.host, conn.port)) {
            Some((epoch, backlog)) if *epoch == server.epoch => {
                backlog.waiting.push_back(id);
                wake(&mut self.wakes, &mut backlog.waker);
            }
            _ => {
                conn.ends[1].gone = true;
                self.send_reset(id, 0, now);
            }
        }
    }

    // ---- established connections ----

    /// Takes what there is room for. `None`: wait.
    pub(super) fn write(
        &mut self,
        id: ConnId,
        me: usize,
        data: &[u8],
        now: u64,
        waker: &Waker,
    ) -> Option<io::Result<usize>> {
        let Some(conn) = self.conns.get_mut(&id) else {
            return Some(Err(io::ErrorKind::ConnectionReset.into()));
        };
        let (place, peer) = (conn.ends[me].place, conn.ends[1 - me].place);
        let reset = conn.ends[me].reset;
        let pipe = &mut conn.pipes[me];
        let room = SEND_BUFFER.saturating_sub(pipe.unacked);
        if !self.alive(place) {
            return None;
        }
        let conn = self.conns.get_mut(&id).expect("it was there above");
        let pipe = &mut conn.pipes[me];
        if reset {
            return Some(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if pipe.fin_sent {
            return Some(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if room == 0 {
            self.traffic.waits += 1;
            pipe.writer = Some(waker.clone());
            return None;
        }
        let taken = data.len().min(room);
        pipe.unacked += taken;
        let mut rest = &data[..taken];
        while !rest.is_empty() {
            let most = rest.len().min(SEGMENT_BYTES);
            let rng = self.wires.stream(place.host, peer.host);
            let length = if rng.chance(0.1) { 1 + rng.index(most) } else { most };
            let (segment, others) = rest.split_at(length);
            rest = others;
            self.send(id, me, Segment::Data(segment.to_vec()), now);
        }
        Some(Ok(taken))
    }

    /// Gives what has landed, cut at a random place now and then. `None`: wait.
    pub(super) fn read(
        &mut self,
        id: ConnId,
        me: usize,
        room: usize,
        now: u64,
        waker: &Waker,
    ) -> Option<io::Result<Vec<u8>>> {
        let Some(conn) = self.conns.get_mut(&id) else {
            return Some(Err(io::ErrorKind::ConnectionReset.into()));
        };
        let (place, peer) = (conn.ends[me].place, conn.ends[1 - me].place);
        if !self.alive(place) {
            return None;
        }
        let conn = self.conns.get_mut(&id).expect("it was there above");
        let reset = conn.ends[me].reset;
        let pipe = &mut conn.pipes[1 - me];
        if !pipe.ready.is_empty() && room > 0 {
            let most = pipe.ready.len().min(room);
            let rng = self.wires.stream(peer.host, place.host);
            let length = if rng.chance(0.1) { 1 + rng.index(most) } else { most };
            let data = pipe.ready.drain(..length).collect();
            if std::mem::take(&mut pipe.window_closed) {
                // The window update crosses the wire, then the held segment.
                let at = now + 2 * self.wires.flight_time(place.host, peer.host, 0);
                pipe.scheduled = true;
                self.schedule(at, Event::Land { conn: id, from: 1 - me });
            }
            return Some(Ok(data));
        }
        if reset {
            return Some(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if pipe.fin {
            return Some(Ok(Vec::new()));
        }
        pipe.reader = Some(waker.clone());
        None
    }

    /// Half-close: FIN after everything written.
    pub(super) fn shutdown(&mut self, id: ConnId, me: usize, now: u64) {
        let Some(conn) = self.conns.get(&id) else { return };
        if conn.pipes[me].fin_sent || conn.ends[me].reset || !self.alive(conn.ends[me].place) {
            return;
        }
        let conn = self.conns.get_mut(&id).expect("it was there above");
        conn.pipes[me].fin_sent = true;
        self.send(id, me, Segment::Fin, now);
    }

    /// The application lets go: FIN, or RST when it leaves data unread.
    pub(super) fn close(&mut self, id: ConnId, me: usize, now: u64) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.ends[me].gone = true;
        let place = conn.ends[me].place;
        let unread = !conn.pipes[1 - me].ready.is_empty();
        // A machine without power says nothing when its memory is swept.
        if self.alive(place) {
            if unread {
                let conn = self.conns.get_mut(&id).expect("it was there above");
                conn.pipes[me].flight.clear();
                conn.pipes[me].fin_sent = true;
                self.send_reset(id, 1 - me, now);
            } else {
                self.shutdown(id, me, now);
            }
        }
        self.forget_if_over(id);
    }

    /// A box on the way resets every connection of this host.
    pub(super) fn reset_all(&mut self, host: HostId, now: u64) {
        let ids: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.ends.iter().any(|end| end.place.host == host))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.send_reset(id, 0, now);
            self.send_reset(id, 1, now);
        }
    }

    fn send(&mut self, id: ConnId, from: usize, segment: Segment, now: u64) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let (source, target) = (conn.ends[from].place.host, conn.ends[1 - from].place.host);
        let bytes = match &segment {
            Segment::Data(data) => data.len(),
            Segment::Fin => 0,
        };
        let time = self.wires.flight_time(source, target, bytes);
        let pipe = &mut conn.pipes[from];
        // In order: nothing overtakes what is in flight before it.
        let at = pipe.flight.back().map_or(0, |(at, _)| *at).max(now + time);
        pipe.flight.push_back((at, segment));
        if !pipe.scheduled && !pipe.window_closed {
            pipe.scheduled = true;
            pipe.rto = RTO_MIN;
            self.schedule(at, Event::Land { conn: id, from });
        }
    }

    fn send_reset(&mut self, id: ConnId, to: usize, now: u64) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (source, target) = (conn.ends[1 - to].place.host, conn.ends[to].place.host);
        let at = now + self.wires.flight_time(source, target, 0);
        self.schedule(at, Event::Reset { conn: id, to });
    }

    fn land(&mut self, id: ConnId, from: usize, now: u64) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.pipes[from].scheduled = false;
        let (source, target) = (conn.ends[from].place, conn.ends[1 - from].place);
        let gone = conn.ends[1 - from].gone;
        while self.front_due(id, from, now) {
            if self.wires.is_cut(source.host, target.host) || !self.powered(target.host) {
                return self.retransmit(id, from, now);
            }
            if gone || !self.alive(target) {
                // The kernel there knows no such connection (any more).
                self.send_reset(id, from, now);
                return self.retransmit(id, from, now);
            }
            if from == 0 {
                self.establish(id, now);
            }
            let Some(conn) = self.conns.get_mut(&id) else { return };
            let pipe = &mut conn.pipes[from];
            let held = pipe.ready.len();
            match pipe.flight.front() {
                Some((_, Segment::Data(data)))
                    if held > 0 && held + data.len() > RECEIVE_BUFFER =>
                {
                    pipe.window_closed = true;
                    return;
                }
                _ => {}
            }
            let Some((_, segment)) = pipe.flight.pop_front() else { return };
            pipe.rto = RTO_MIN;
            let acked = match segment {
                Segment::Data(data) => {
                    pipe.ready.extend(&data);
                    data.len()
                }
                Segment::Fin => {
                    pipe.fin = true;
                    0
                }
            };
            wake(&mut self.wakes, &mut pipe.reader);
            self.traffic.landed += 1;
            if acked > 0 {
                let at = now + self.wires.flight_time(target.host, source.host, 0);
                self.schedule(at, Event::Ack { conn: id, from, bytes: acked, rto: RTO_MIN });
            }
        }
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let pipe = &mut conn.pipes[from];
        if let Some((at, _)) = pipe.flight.front() {
            pipe.scheduled = true;
            let at = *at;
            self.schedule(at, Event::Land { conn: id, from });
        }
        self.forget_if_over(id);
    }

    fn front_due(&self, id: ConnId, from: usize, now: u64) -> bool {
        let front = self.conns.get(&id).and_then(|conn| conn.pipes[from].flight.front());
        front.is_some_and(|(at, _)| *at <= now)
    }

    /// The sender's kernel tries again later, if it still lives.
    fn retransmit(&mut self, id: ConnId, from: usize, now: u64) {
        self.traffic.held += 1;
        let Some(conn) = self.conns.get(&id) else { return };
        if !self.alive(conn.ends[from].place) {
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.pipes[from].flight.clear();
            }
            return self.forget_if_over(id);
        }
        let conn = self.conns.get_mut(&id).expect("it was there above");
        let pipe = &mut conn.pipes[from];
        let at = now + pipe.rto;
        pipe.rto = (pipe.rto * 2).min(RTO_MAX);
        pipe.scheduled = true;
        self.schedule(at, Event::Land { conn: id, from });
    }

    fn ack(&mut self, id: ConnId, from: usize, bytes: usize, rto: u64, now: u64) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (source, target) = (conn.ends[from].place, conn.ends[1 - from].place);
        if !self.alive(source) {
            return;
        }
        let broken = self.wires.is_cut(target.host, source.host);
        if !broken && self.alive(target) {
            let conn = self.conns.get_mut(&id).expect("it was there above");
            conn.pipes[from].unacked = conn.pipes[from].unacked.saturating_sub(bytes);
            wake(&mut self.wakes, &mut conn.pipes[from].writer);
            return;
        }
        // Without the acknowledgement the sender sends again; a rebooted host answers with RST.
        let passes = !self.wires.is_cut(source.host, target.host) && self.powered(target.host);
        if passes && !self.alive(target) {
            self.send_reset(id, from, now);
        }
        let next = (rto * 2).min(RTO_MAX);
        self.schedule(now + rto, Event::Ack { conn: id, from, bytes, rto: next });
    }

    fn reset(&mut self, id: ConnId, to: usize) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (place, other) = (conn.ends[to].place, conn.ends[1 - to].place);
        if !self.alive(place) || self.wires.is_cut(other.host, place.host) {
            return;
        }
        self.traffic.resets += 1;
        let conn = self.conns.get_mut(&id).expect("it was there above");
        conn.ends[to].reset = true;
        conn.pipes[to].flight.clear();
        for pipe in &mut conn.pipes {
            wake(&mut self.wakes, &mut pipe.reader);
            wake(&mut self.wakes, &mut pipe.writer);
        }
        self.forget_if_over(id);
    }

    fn forget_if_over(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(&id) else { return };
        let over = (0..2).all(|end| {
            let unreachable = conn.ends[end].gone || !self.alive(conn.ends[end].place);
            unreachable && (conn.pipes[end].flight.is_empty() || conn.ends[end].reset)
        });
        if over {
            self.conns.remove(&id);
        }
    }

    // ---- time ----

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
