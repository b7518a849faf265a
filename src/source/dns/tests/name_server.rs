//! A name server on loopback whose answers a test changes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::CNAME;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::sync::watch;

/// What is answered about a name.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// These addresses, with a TTL in seconds.
    Addresses(Vec<IpAddr>, u32),
    /// Another name, with a TTL in seconds, and the addresses of that one.
    Alias(&'static str, u32),
    /// A failure.
    Code(ResponseCode),
    /// Nothing: the query is lost.
    Silence,
    /// These IPv6 addresses, with a TTL in seconds; a failure for IPv4.
    Six(Vec<IpAddr>, u32),
}

/// Every name that it does not know gets NXDOMAIN.
#[derive(Debug)]
pub(crate) struct NameServer {
    address: SocketAddr,
    /// The names of all queries.
    queries: watch::Sender<Vec<String>>,
    zone: Arc<Mutex<BTreeMap<String, Reply>>>,
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone: Arc<Mutex<BTreeMap<String, Reply>>> = Arc::default();
        let queries = watch::Sender::default();
        tokio::spawn(serve(socket, queries.clone(), zone.clone()));
        Self { address, queries, zone }
    }

    /// Waits until `name` is looked up `lookups` times more: each asks for IPv4 and for IPv6 addresses.
    pub(crate) async fn asked(&self, name: &str, lookups: usize) {
        let name = format!("{name}.");
        let count = |queries: &Vec<String>| queries.iter().filter(|query| **query == name).count();
        let before = count(&self.queries.borrow());
        let enough = |queries: &Vec<String>| count(queries) >= before + 2 * lookups;
        let mut queries = self.queries.subscribe();
        let asked = tokio::time::timeout(Duration::from_secs(60), queries.wait_for(enough));
        drop(asked.await.expect("the name is looked up"));
    }

    /// `name` is written without a final dot.
    pub(crate) fn set(&self, name: &str, reply: Reply) {
        self.zone.lock().unwrap().insert(format!("{name}."), reply);
    }

    /// A resolver's configuration that has this name server alone.
    pub(crate) fn config(&self, search: &[&str]) -> ResolverConfig {
        let mut udp = ConnectionConfig::udp();
        udp.port = self.address.port();
        let server = NameServerConfig::new(self.address.ip(), true, vec![udp]);
        let search = search.iter().map(|name| Name::from_str_relaxed(name).unwrap()).collect();
        ResolverConfig::from_parts(None, search, vec![server])
    }
}

async fn serve(socket: UdpSocket, queries: watch::Sender<Vec<String>>, zone: Arc<Mutex<BTreeMap<String, Reply>>>) {
    let mut buffer = [0; 1500];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        let query = Message::from_vec(&buffer[..length]).unwrap();
        queries.send_modify(|queries| queries.push(query.queries[0].name().to_ascii().to_ascii_lowercase()));
        let answer = answer(&query, &zone.lock().unwrap());
        if let Some(answer) = answer {
            socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
        }
    }
}

fn answer(query: &Message, zone: &BTreeMap<String, Reply>) -> Option<Message> {
    let question = &query.queries[0];
    let mut answer = Message::response(query.id, OpCode::Query);
    answer.add_query(question.clone());
    let mut owner = question.name().clone();
    loop {
        match zone.get(&owner.to_ascii().to_ascii_lowercase()) {
            None => answer.metadata.response_code = ResponseCode::NXDomain,
            Some(Reply::Addresses(addresses, ttl)) => {
                let data = addresses.iter().map(|address| RData::from(*address));
                let data = data.filter(|data| data.record_type() == question.query_type());
                answer.add_answers(data.map(|data| Record::from_rdata(owner.clone(), *ttl, data)));
            }
            Some(Reply::Alias(target, ttl)) => {
                let target = Name::from_ascii(format!("{target}.")).unwrap();
                let data = RData::CNAME(CNAME(target.clone()));
                answer.add_answers([Record::from_rdata(owner, *ttl, data)]);
                owner = target;
                continue;
            }
            Some(Reply::Code(code)) => answer.metadata.response_code = *code,
            Some(Reply::Silence) => return None,
            Some(Reply::Six(..)) if question.query_type() != RecordType::AAAA => {
                answer.metadata.response_code = ResponseCode::ServFail;
            }
            Some(Reply::Six(addresses, ttl)) => {
                let data = addresses.iter().map(|address| RData::from(*address));
                answer.add_answers(data.map(|data| Record::from_rdata(owner.clone(), *ttl, data)));
            }
        }
        return Some(answer);
    }
}
