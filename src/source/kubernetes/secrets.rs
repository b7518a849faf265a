use super::*;
pub(super) async fn run(
    _client: &Client,
    _options: &Options,
    _changes: &mpsc::Sender<Change>,
    _referenced: latest::Receiver<Option<BTreeSet<ObjectKey>>>,
    _readiness: &Readiness,
) {
}
