use super::super::judge;
use crate::model::{IdentityRule, RevocationSettings, TextMatch};
use crate::trust::testing::{DAY, Entity, NOW, at, client, params, requirements, verdict};
use crate::trust::{IdentityRules, Revocation};

/// A small deterministic generator (xorshift), so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

fn rules(pattern: Option<&str>) -> IdentityRules {
    let rule = |text: &str| IdentityRule { subject: vec![TextMatch::Prefix(text.into())], ..IdentityRule::default() };
    IdentityRules::new(&pattern.map(rule).into_iter().collect::<Vec<_>>()).unwrap()
}

/// Whenever `again` lets a client in, `judge` does, under any change of the requirements and of the time; and where `again`
/// refuses, so does `judge`.
#[test]
fn judging_again_is_never_laxer_nor_stricter_than_judging() {
    let (a, b) = (Entity::root("a"), Entity::root("b"));
    let (short, long) = (a.intermediates(2), a.intermediates(7));
    let pin = Entity::self_signed(params("pin"));
    let leaf = |issuer: &Entity, serial| issuer.issue(client("anna", serial));
    let (direct, under_short, under_long, under_b) = (leaf(&a, 1), leaf(&short[0], 2), leaf(&long[0], 3), leaf(&b, 4));
    let chains: Vec<Vec<_>> = [
        vec![&direct],
        [&under_short].into_iter().chain(&short).collect(),
        [&under_long].into_iter().chain(&long).collect(),
        vec![&under_b],
        vec![&pin],
    ]
    .into_iter()
    .map(|chain: Vec<&Entity>| chain.into_iter().map(|entity| entity.der.clone()).collect())
    .collect();
    let issuers: Vec<_> = short.iter().chain(&long).chain([&a, &b]).collect();
    let lists: Vec<Vec<_>> = [(5, &[][..]), (5, &[1]), (6, &[]), (7, &[]), (7, &[1, 3]), (8, &[2, 4])]
        .into_iter()
        .map(|(month, revoked): (u8, &[u64])| issuers.iter().map(|issuer| issuer.list(revoked, month)).collect())
        .collect();
    let mut dice = Dice(0x5eed_1234_5678_9abc);
    let anchors = [vec![&a], vec![&b], vec![&a, &b, &pin], vec![&pin, &short[1]]];
    let draw = |dice: &mut Dice| {
        let mut required = requirements(&anchors[dice.roll(4)], [0, 2, 9, 9][dice.roll(4)]);
        required.identities = rules([None, Some("CN=anna"), Some("CN=p"), Some("CN=x")][dice.roll(4)]);
        if dice.roll(2) == 0 {
            let lists = &lists[dice.roll(6)];
            let lists = lists.iter().filter(|_| dice.roll(5) > 0).cloned().collect();
            let settings = RevocationSettings { allow_unknown: dice.roll(2) == 0, leaf_only: dice.roll(2) == 0 };
            required.revocation = Some(Revocation::new(lists, settings).unwrap());
        }
        required
    };
    let (mut passed, mut refused, mut undecided) = (0, 0, 0);
    for round in 0..120 {
        let mut before = requirements(&[&a, &b, &pin], 9);
        before.identities = rules([None, Some("CN=")][dice.roll(2)]);
        let after = draw(&mut dice);
        let later = at(NOW + [0, 0, 1, 40, 400, -300][dice.roll(6)] * DAY);
        for chain in &chains {
            let Ok(verified) = judge(chain, &before, at(NOW)) else { continue };
            let full = judge(chain, &after, later);
            // The lists' signatures are remembered by the judgement in full; before it, fewer are decided.
            match verified.again(&after, later) {
                None => undecided += 1,
                Some(Ok(again)) => {
                    passed += 1;
                    assert_eq!(
                        Ok(again),
                        full.map(|mut full| {
                            // The holder is kept by the first judgement, or not.
                            full.path = verified.path.clone();
                            full
                        }),
                        "round {round}"
                    );
                }
                Some(Err(refusal)) => {
                    refused += 1;
                    assert_eq!(Err(refusal), full, "round {round}");
                }
            }
        }
    }
    assert!(passed > 20 && refused > 20 && undecided > 50, "{passed} {refused} {undecided}");
}

#[test]
fn a_new_list_is_applied_without_a_judgement_in_full() {
    let root = Entity::root("root");
    let clients: Vec<_> = (1..=4).map(|serial| root.issue(client("anna", serial))).collect();
    let mut required = requirements(&[&root], 0);
    let verified: Vec<_> = clients.iter().map(|client| verdict(&[client], &required).unwrap()).collect();
    required.revocation = Some(crate::trust::testing::revocation(&[root.list(&[2, 4], 12)], false, false));
    assert_eq!(verified[0].again(&required, at(NOW)), None, "the list's signature is not verified yet");
    verdict(&[&clients[0]], &required).unwrap();
    let again = verified.iter().map(|verified| verified.again(&required, at(NOW)).unwrap().is_ok());
    assert_eq!(again.collect::<Vec<_>>(), [true, false, true, false]);
}

#[test]
fn a_verdict_names_its_anchor_and_ends_with_the_path() {
    let (root, other) = (Entity::root("root"), Entity::root("other"));
    let leaf = root.issue(client("anna", 1));
    let required = requirements(&[&root, &other], 0);
    let verified = verdict(&[&leaf], &required).unwrap();
    let anchor = required.anchors.iter().find(|anchor| anchor.certificate_sha256() == verified.anchor()).unwrap();
    assert_eq!(anchor.subject(), "CN=root");
    assert_eq!(verified.again(&requirements(&[&other], 0), at(NOW)), None, "the anchor is gone");
    assert_eq!(verified.again(&required, at(NOW - 200 * DAY)), None, "before its time");
}
