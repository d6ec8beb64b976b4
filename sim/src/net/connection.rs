//! What happens on a connection: writing, landing, acknowledging, reading, closing, resetting.
//!
//! Rule: in order, within two bounded buffers, and told to the other end by segments alone. Must
//! never: wake an application for something that has not landed.

use super::{
    HostId,
    model::{ConnId, Event, Model, Segment, wake},
    weather::{RTO_MAX, RTO_MIN, SEGMENT_BYTES},
};
use std::{io, task::Waker};

/// Bytes a sender may have unacknowledged; more waits in the application (back-pressure).
pub const SEND_BUFFER: usize = 256 * 1024;
/// Bytes a receiver holds unread; more waits on the wire (zero window).
pub const RECEIVE_BUFFER: usize = 256 * 1024;
impl Model {
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

    pub(super) fn send(&mut self, id: ConnId, from: usize, segment: Segment, now: u64) {
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

    pub(super) fn send_reset(&mut self, id: ConnId, to: usize, now: u64) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (source, target) = (conn.ends[1 - to].place.host, conn.ends[to].place.host);
        let at = now + self.wires.flight_time(source, target, 0);
        self.schedule(at, Event::Reset { conn: id, to });
    }

    pub(super) fn land(&mut self, id: ConnId, from: usize, now: u64) {
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

    pub(super) fn front_due(&self, id: ConnId, from: usize, now: u64) -> bool {
        let front = self.conns.get(&id).and_then(|conn| conn.pipes[from].flight.front());
        front.is_some_and(|(at, _)| *at <= now)
    }

    /// The sender's kernel tries again later, if it still lives.
    pub(super) fn retransmit(&mut self, id: ConnId, from: usize, now: u64) {
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

    pub(super) fn ack(&mut self, id: ConnId, from: usize, bytes: usize, rto: u64, now: u64) {
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

    pub(super) fn reset(&mut self, id: ConnId, to: usize) {
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

    pub(super) fn forget_if_over(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(&id) else { return };
        let over = (0..2).all(|end| {
            let unreachable = conn.ends[end].gone || !self.alive(conn.ends[end].place);
            unreachable && (conn.pipes[end].flight.is_empty() || conn.ends[end].reset)
        });
        if over {
            self.conns.remove(&id);
        }
    }
}
