//! A disk that can fail, and whose power can.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

/// A disk. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(in crate::store::embedded) struct Drive(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    fails: bool,
    log: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    /// The writer was told that so many transactions are done.
    Acknowledged(u64),
    Length(usize),
    Sync,
    Write(usize, Vec<u8>),
}

impl Drive {
    /// Lets every write fail from now on, or no more.
    pub(super) fn fail(&self, fails: bool) {
        self.lock().fails = fails;
    }

    /// Notes that `transactions` are done.
    pub(super) fn acknowledge(&self, transactions: u64) {
        self.lock().log.push(Step::Acknowledged(transactions));
    }

    /// A disk as it may be when the power fails at some moment of this one's life, and how many transactions were done then. What was
    /// written after the last sync is there, or not, or the first bytes of it are.
    pub(super) fn cut(&self, random: &mut Random) -> (Self, u64) {
        let state = self.lock();
        let first = state.log.iter().position(|step| matches!(step, Step::Acknowledged(_))).unwrap();
        let log = &state.log[..=first + random.below(state.log.len() - first)];
        let synced = log.iter().rposition(|step| matches!(step, Step::Sync)).unwrap_or(0);
        let mut bytes = Vec::new();
        let mut acknowledged = 0;
        for (index, step) in log.iter().enumerate() {
            let luck = if index <= synced { 0 } else { random.below(3) };
            match step {
                Step::Acknowledged(transactions) => acknowledged = *transactions,
                Step::Length(length) if luck < 2 => bytes.resize(*length, 0),
                Step::Write(at, written) if luck < 2 => {
                    let length = if luck == 0 { written.len() } else { random.below(written.len()) };
                    bytes.resize(bytes.len().max(at + length), 0);
                    bytes[*at..at + length].copy_from_slice(&written[..length]);
                }
                _ => {}
            }
        }
        (Self(Arc::new(Mutex::new(State { bytes, fails: false, log: Vec::new() }))), acknowledged)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn working(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(state) }
    }
}

impl StorageBackend for Drive {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().bytes.len().try_into().unwrap())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        let state = self.lock();
        let from = state.bytes.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(from);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let length = usize::try_from(len).unwrap();
        let mut state = self.working()?;
        state.bytes.resize(length, 0);
        state.log.push(Step::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.working()?.log.push(Step::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        let mut state = self.working()?;
        state.bytes[start..start + data.len()].copy_from_slice(data);
        state.log.push(Step::Write(start, data.to_vec()));
        Ok(())
    }
}

/// Numbers that look random and are the same every time: `SplitMix64`.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`, and 0 where that is 0.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit.max(1) as u64).unwrap()
    }
}
