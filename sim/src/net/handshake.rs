//! How a connection comes about: listening, SYN, SYN-ACK, ACK, and the backlog.
//!
//! Rule: a SYN that is not answered is sent again, and the dialler waits; the listener learns of a
//! connection when the third segment (or any data) lands. Must never: let a dial fail sooner than a
//! kernel would.

use super::{
    Place,
    model::{Backlog, Conn, ConnId, Dial, DialId, End, Event, Model, wake},
    weather::{RTO_MAX, RTO_MIN},
};
use std::{io, task::Waker};

/// Connections waiting to be accepted; further SYNs are dropped, as a kernel does.
pub const BACKLOG: usize = 128;
/// First SYN retransmission; doubles.
const SYN_RETRY: u64 = 1_000_000_000;
/// SYN retransmissions before `TimedOut` (Linux `tcp_syn_retries` = 6).
const SYN_TRIES: u32 = 6;

impl Model {
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

    pub(super) fn syn(&mut self, id: DialId, now: u64) {
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

    pub(super) fn syn_again(&mut self, id: DialId, now: u64) {
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

    pub(super) fn refused(&mut self, id: DialId, now: u64) {
        let Some(dial) = self.dials.get(&id) else { return };
        if self.wires.is_cut(dial.to, dial.from.host) {
            return self.syn_again(id, now);
        }
        let dial = self.dials.get_mut(&id).expect("it was there above");
        dial.outcome = Some(Err(io::ErrorKind::ConnectionRefused.into()));
        wake(&mut self.wakes, &mut dial.waker);
    }

    pub(super) fn syn_ack(&mut self, id: DialId, now: u64) {
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

    pub(super) fn open(&mut self, id: ConnId, rto: u64, now: u64) {
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
    pub(super) fn establish(&mut self, id: ConnId, now: u64) {
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
}
