//! UDP: a client's datagrams go to one endpoint, through a socket of their own, so that the answers find their way back.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::{Interest, Ready};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::session::Session;
use crate::alarm::Alarm;
use crate::drain::Draining;
use crate::proxy::Shared;
use crate::proxy::downstream::Downstream;
use crate::proxy::listener::Place;
use crate::proxy::tunnel::Moved;
use crate::snapshot::{Carrier, StreamEnd};

/// The longest datagram: what the length field can say.
const DATAGRAM: usize = 65_535;

/// A pause after the socket failed, so that an error that stays does not keep a processor busy.
const PAUSE: Duration = Duration::from_millis(10);

thread_local! {
    /// Where an answer is for the moment between two sockets.
    static ANSWER: RefCell<Box<[u8]>> = RefCell::new(vec![0; DATAGRAM].into());
}

/// A bound socket.
#[derive(Debug)]
pub(in crate::proxy) struct UdpListener {
    address: SocketAddr,
    socket: Arc<UdpSocket>,
}

/// The datagrams of one client.
#[derive(Debug)]
struct Flow {
    born: Instant,
    endpoint: SocketAddr,
    /// Told when it is not one of the rule's any more.
    gone: Notify,
    /// How long it may be silent.
    idle: Duration,
    /// Milliseconds from `born` to the last datagram, in either direction.
    last: AtomicU64,
    received: AtomicU64,
    /// Connected to it.
    socket: UdpSocket,
}

impl UdpListener {
    pub(in crate::proxy) fn bind(address: SocketAddr) -> io::Result<Self> {
        let bind = || {
            let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            let socket = UdpSocket::from_std(socket.into())?;
            Ok(Self { address: socket.local_addr()?, socket: Arc::new(socket) })
        };
        bind().map_err(|error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen on UDP {address}: {error}"))
        })
    }

    pub(in crate::proxy) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Passes datagrams on. Once the drain has started it takes no new clients, and returns when those it has are silent.
    pub(in crate::proxy) async fn run(self, shared: Arc<Shared>, mut draining: Draining) {
        let room = Arc::new(Semaphore::new(shared.settings.max_connections));
        let mut flows: HashMap<SocketAddr, Arc<Flow>> = HashMap::new();
        let mut tasks = JoinSet::new();
        let mut datagram = vec![0; DATAGRAM].into_boxed_slice();
        let mut open = true;
        let mut published = shared.current.published();
        while open || !tasks.is_empty() {
            tokio::select! {
                biased;
                () = draining.started(), if open => open = false,
                Some(ended) = tasks.join_next() => match ended {
                    Ok(peer) => drop(flows.remove(&peer)),
                    // A panic does not say whose: the one whose task has let go of it.
                    Err(_) => flows.retain(|_, flow| Arc::strong_count(flow) > 1),
                },
                Ok(()) = published.changed() => self.leave_gone(&flows, &shared),
                received = self.socket.recv_from(&mut datagram) => {
                    let (length, peer) = match received {
                        Ok(received) => received,
                        Err(error) => {
                            tracing::error!("cannot receive on UDP {}: {error}; trying again in {PAUSE:?}", self.address);
                            tokio::time::sleep(PAUSE).await;
                            continue;
                        }
                    };
                    if !flows.contains_key(&peer) && open
                        && let Some((flow, session)) = self.admit(peer, &shared, &draining, &room)
                    {
                        flows.insert(peer, flow.clone());
                        tasks.spawn(answer(self.socket.clone(), peer, flow, session));
                    }
                    if let Some(flow) = flows.get(&peer) {
                        flow.pass(&datagram[..length], &shared);
                    }
                }
            }
        }
    }

    /// Ends the sessions with endpoints that a new snapshot does not lead to: a client that never pauses would stay.
    fn leave_gone(&self, flows: &HashMap<SocketAddr, Arc<Flow>>, shared: &Shared) {
        let current = shared.current.load();
        let mut served: HashMap<_, HashSet<_>> = HashMap::new();
        for (peer, flow) in flows {
            let route = current.streams.udp(self.address.port(), peer.ip().to_canonical());
            let served = served.entry(route.map(Arc::as_ptr));
            let served = served.or_insert_with(|| route.iter().flat_map(|route| route.backends.addresses()).collect());
            if !served.contains(&flow.endpoint) {
                flow.gone.notify_one();
            }
        }
    }

    /// A new client; `None` where there is no rule, no room or no endpoint for it.
    fn admit(
        &self,
        peer: SocketAddr,
        shared: &Arc<Shared>,
        draining: &Draining,
        room: &Arc<Semaphore>,
    ) -> Option<(Arc<Flow>, Session)> {
        let port = self.address.port();
        // None of these is worth a line: whoever sends from many addresses would fill the log.
        let Some(route) = shared.current.load().streams.udp(port, peer.ip().to_canonical()).cloned() else {
            shared.metrics.streams.no_route.inc();
            return None;
        };
        if !route.backends.is_usable() {
            shared.metrics.streams.no_endpoint.inc();
            return None;
        }
        let shedding = shared.shedding.load(Ordering::Relaxed);
        let Some(permit) = room.clone().try_acquire_owned().ok().filter(|_| !shedding) else {
            shared.metrics.streams.full.inc();
            return None;
        };
        let mut place =
            Place::new(permit, shared.metrics.connections.stream_udp.clone(), shared.clone()).of_datagrams();
        let client = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if !place.admits(client) {
            return None;
        }
        let downstream = Arc::new(Downstream::new(client, port, None, place, draining.clone()));
        let mut session = Session::new(Carrier::Udp, port, downstream);
        let (upstream, first) = match session.upstream(Some(route)) {
            Ok(upstream) => upstream,
            Err(end) => {
                session.end = end;
                return None;
            }
        };
        session.end = StreamEnd::NoEndpoint;
        let node = upstream.from(first).next()?;
        session.end = StreamEnd::Stopped;
        session.tries(&upstream, node);
        match connected(node.endpoint.address) {
            Ok(socket) => {
                let timeouts = upstream.timeouts.unwrap_or_default();
                Some((Arc::new(Flow::new(node.endpoint.address, socket, timeouts.read.max(timeouts.send))), session))
            }
            Err(error) => {
                session.end = StreamEnd::Unreachable;
                session.unreachable(&error);
                None
            }
        }
    }
}

/// A socket that sends to `address` and hears nobody else.
fn connected(address: SocketAddr) -> io::Result<UdpSocket> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = std::net::UdpSocket::bind(any)?;
    socket.set_nonblocking(true)?;
    socket.connect(address)?;
    UdpSocket::from_std(socket)
}

impl Flow {
    fn new(endpoint: SocketAddr, socket: UdpSocket, idle: Duration) -> Self {
        let (last, received) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { born: Instant::now(), endpoint, gone: Notify::new(), idle, last, received, socket }
    }

    /// Sends what the client sent.
    fn pass(&self, datagram: &[u8], shared: &Shared) {
        self.touch();
        // Past the runtime, which takes a new socket for full until it has heard of it: the first datagram would be lost.
        match SockRef::from(&self.socket).send(datagram) {
            Ok(sent) => {
                self.received.fetch_add(sent as u64, Ordering::Relaxed);
            }
            // Full, or word that an earlier datagram found nobody: the session's task hears of that too.
            Err(_) => {
                shared.metrics.streams.not_taken.inc();
            }
        }
    }

    /// Takes an answer from the endpoint to the client; returns its length, 0 where there was none after all.
    fn take(&self, listener: &UdpSocket, peer: SocketAddr, shared: &Shared) -> io::Result<usize> {
        ANSWER.with_borrow_mut(|answer| {
            let length = match self.socket.try_recv(answer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) => return Err(error),
            };
            self.touch();
            if listener.try_send_to(&answer[..length], peer).is_err() {
                shared.metrics.streams.not_taken.inc();
                return Ok(0);
            }
            Ok(length)
        })
    }

    fn touch(&self) {
        let since = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    /// When the last datagram came or went.
    fn last(&self) -> Instant {
        self.born + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }
}

/// Passes the endpoint's answers on until nothing has come or gone for the session's idle time, or the endpoint is not there.
/// Returns the client's address.
async fn answer(listener: Arc<UdpSocket>, peer: SocketAddr, flow: Arc<Flow>, mut session: Session) -> SocketAddr {
    let shared = session.downstream.shared().clone();
    let mut draining = session.downstream.draining.clone();
    let mut idle = flow.idle;
    let mut alarm = Alarm::new(flow.last() + idle);
    let mut stopping = false;
    session.end = loop {
        tokio::select! {
            biased;
            () = draining.started(), if !stopping => {
                stopping = true;
                idle = idle.min(shared.settings.drain_idle);
            }
            () = flow.gone.notified() => break StreamEnd::Gone,
            ready = flow.socket.ready(Interest::READABLE | Interest::ERROR) => {
                // An error is word from the network that a datagram did not arrive.
                if ready.is_ok_and(Ready::is_error) {
                    break StreamEnd::Broken;
                }
                match flow.take(&listener, peer, &shared) {
                    Ok(sent) => session.moved.sent += sent as u64,
                    Err(_) => break StreamEnd::Broken,
                }
            }
            () = poll_fn(|cx| alarm.poll(cx)) => {
                if flow.last() + idle <= Instant::now() {
                    break StreamEnd::Idle;
                }
            }
        }
        alarm.set(flow.last() + idle);
    };
    session.moved = Moved { received: flow.received.load(Ordering::Relaxed), ..session.moved };
    peer
}
