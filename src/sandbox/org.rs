//! The practice Org itself: who is in it, which keys and tokens open it, and what was changed. Plain state; the time
//! comes in as a [`Duration`] since the start, and no request or page is known here.

use std::collections::{BTreeMap, HashMap};
use std::iter;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::Options;

/// The length of a session token in characters.
const TOKEN_LENGTH: usize = 40;

const FIRST_NAMES: [&str; 16] = [
    "Ada", "Bruno", "Chloé", "Deniz", "Emeka", "Freya", "Grace", "Hugo", "Ines", "Jonas", "Kaito",
    "Leila", "Mateo", "Nora", "Omar", "Priya",
];
const LAST_NAMES: [&str; 16] = [
    "Almeida",
    "Brandt",
    "Castillo",
    "Dubois",
    "Eriksen",
    "Fischer",
    "Garcia",
    "Haddad",
    "Ito",
    "Jansen",
    "Kowalski",
    "Lindqvist",
    "Moreau",
    "Novák",
    "O'Brien",
    "Patel",
];

/// One user as the practice Org knows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The user's ID.
    pub id: u64,
    /// Made up from the ID until a PUT names it.
    #[serde(flatten)]
    pub profile: Profile,
    /// Whether the user signs in without multi-factor authentication; `false` until a PUT says otherwise.
    pub mfa_opt_out: bool,
    /// PUTs that were sent to this user, whatever they were answered with.
    pub puts: u64,
    /// PUTs that were carried out (204).
    pub changes: u64,
    /// When the last one was carried out, in whole milliseconds since the start; `None`: never.
    pub changed_at_ms: Option<u64>,
}

/// What a membership holds besides the opt-out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it")]
pub struct Profile {
    pub first_name: String,
    pub last_name: String,
    pub email: String,
    pub role: String,
    pub is_admin: bool,
}

impl Profile {
    /// The same ID always gives the same person.
    fn made_up(id: u64) -> Self {
        let pick =
            |names: [&'static str; 16], n: u64| names[usize::try_from(n % 16).unwrap_or_default()];
        Self {
            first_name: pick(FIRST_NAMES, id).to_owned(),
            last_name: pick(LAST_NAMES, id / 16).to_owned(),
            email: format!("user{id}@example.com"),
            role: "Standard User".to_owned(),
            is_admin: false,
        }
    }
}

/// The body of a PUT: a partial update, fields that are not named stay as they are.
///
/// Only `mfaOptOut` is known of the real API; the other fields are made up, so that there is something to cut away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = Membership, example = json!({
    "firstName": "Ada",
    "lastName": "Almeida",
    "email": "ada.almeida@example.com",
    "role": "Standard User",
    "isAdmin": false,
    "mfaOptOut": false
}))]
pub(super) struct Update {
    #[serde(default, deserialize_with = "named")]
    #[schema(nullable = false)]
    first_name: Option<String>,
    #[serde(default, deserialize_with = "named")]
    #[schema(nullable = false)]
    last_name: Option<String>,
    #[serde(default, deserialize_with = "named")]
    #[schema(nullable = false)]
    email: Option<String>,
    #[serde(default, deserialize_with = "named")]
    #[schema(nullable = false)]
    role: Option<String>,
    #[serde(default, deserialize_with = "named")]
    #[schema(nullable = false)]
    is_admin: Option<bool>,
    /// `true`: the user signs in without multi-factor authentication.
    #[serde(default, deserialize_with = "named")]
    #[schema(nullable = false)]
    mfa_opt_out: Option<bool>,
}

/// A field that is named must have a value: `null` is an error, where serde's own reading takes it for "not named".
fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// What a request shows to be let in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Credentials<'a> {
    Nothing,
    Key(&'a [u8]),
    Token(&'a [u8]),
}

/// Why the Org does not do what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NoCredentials,
    WrongKey,
    WrongToken,
    WrongPassword,
    NoSuchOrg,
    NoSuchUser,
}

/// The state of the practice Org.
///
/// Only members that a PUT was sent to take memory; the others follow from the range.
pub(super) struct Org {
    options: Options,
    touched: BTreeMap<u64, Touched>,
    /// Each token and when it ends.
    tokens: HashMap<String, Duration>,
    rng: fastrand::Rng,
}

#[derive(Default)]
struct Touched {
    mfa_opt_out: bool,
    /// `None`: still the one that is made up from the ID.
    profile: Option<Box<Profile>>,
    puts: u64,
    changes: u64,
    changed_at_ms: Option<u64>,
}

impl Org {
    pub(super) fn new(options: Options) -> Self {
        let rng = fastrand::Rng::with_seed(options.faults.seed);
        Self {
            options,
            touched: BTreeMap::new(),
            tokens: HashMap::new(),
            rng,
        }
    }

    /// The IDs among which the members are.
    pub(super) fn range(&self) -> RangeInclusive<u64> {
        self.options.members.clone()
    }

    /// Whether there is such a user: one in the range whose ID does not end in 404. Those have left the Org, so that
    /// there is somebody to miss.
    pub(super) fn has(&self, id: u64) -> bool {
        self.options.members.contains(&id) && id % 1_000 != 404
    }

    pub(super) fn member(&self, id: u64) -> Option<Member> {
        self.has(id).then(|| match self.touched.get(&id) {
            Some(touched) => touched.seen(id),
            None => Touched::default().seen(id),
        })
    }

    /// The members that a PUT was sent to, by ID.
    pub(super) fn touched(&self) -> impl Iterator<Item = Member> {
        self.touched.iter().map(|(&id, touched)| touched.seen(id))
    }

    /// The IDs of those for whom a PUT was carried out.
    pub(super) fn changed(&self) -> impl Iterator<Item = u64> {
        self.touched
            .iter()
            .filter(|(_, touched)| touched.changes > 0)
            .map(|(&id, _)| id)
    }

    /// The IDs of those who sign in without multi-factor authentication.
    pub(super) fn opted_out(&self) -> impl Iterator<Item = u64> {
        self.touched
            .iter()
            .filter(|(_, touched)| touched.mfa_opt_out)
            .map(|(&id, _)| id)
    }

    /// Notes that a PUT was sent to a user, whatever comes of it.
    pub(super) fn note_put(&mut self, id: u64) {
        if self.has(id) {
            self.touched.entry(id).or_default().puts += 1;
        }
    }

    /// Whether the credentials open this Org `now`.
    pub(super) fn authorise(
        &self,
        credentials: Credentials<'_>,
        now: Duration,
    ) -> Result<(), Refusal> {
        match credentials {
            Credentials::Nothing => Err(Refusal::NoCredentials),
            Credentials::Key(key) if key == self.options.api_key.as_bytes() => Ok(()),
            Credentials::Key(_) => Err(Refusal::WrongKey),
            Credentials::Token(token) => {
                let end = str::from_utf8(token)
                    .ok()
                    .and_then(|token| self.tokens.get(token));
                if end.is_some_and(|&end| now < end) {
                    Ok(())
                } else {
                    Err(Refusal::WrongToken)
                }
            }
        }
    }

    /// Opens a session; gives its token and when it ends.
    pub(super) fn log_in(
        &mut self,
        email: &str,
        password: &str,
        org: u64,
        now: Duration,
    ) -> Result<(String, Duration), Refusal> {
        if email != self.options.email || password != self.options.password {
            return Err(Refusal::WrongPassword);
        }
        if org != self.options.org {
            return Err(Refusal::NoSuchOrg);
        }
        self.tokens.retain(|_, end| now < *end);
        let token: String = iter::repeat_with(|| self.rng.alphanumeric())
            .take(TOKEN_LENGTH)
            .collect();
        let end = now.saturating_add(self.options.token_life);
        self.tokens.insert(token.clone(), end);
        Ok((token, end))
    }

    /// Carries a PUT out.
    pub(super) fn update(&mut self, id: u64, update: Update, now: Duration) -> Result<(), Refusal> {
        if !self.has(id) {
            return Err(Refusal::NoSuchUser);
        }
        let touched = self.touched.entry(id).or_default();
        touched.changes += 1;
        touched.changed_at_ms = u64::try_from(now.as_millis()).ok();
        touched.mfa_opt_out = update.mfa_opt_out.unwrap_or(touched.mfa_opt_out);
        if update.names_profile() {
            let profile = touched
                .profile
                .get_or_insert_with(|| Box::new(Profile::made_up(id)));
            update.apply_to(profile);
        }
        Ok(())
    }
}

impl Touched {
    fn seen(&self, id: u64) -> Member {
        Member {
            id,
            profile: self
                .profile
                .as_deref()
                .cloned()
                .unwrap_or_else(|| Profile::made_up(id)),
            mfa_opt_out: self.mfa_opt_out,
            puts: self.puts,
            changes: self.changes,
            changed_at_ms: self.changed_at_ms,
        }
    }
}

impl Update {
    /// Whether it is about more than the opt-out: most PUTs are not, and their members stay small.
    fn names_profile(&self) -> bool {
        *self
            != Self {
                mfa_opt_out: self.mfa_opt_out,
                ..Self::default()
            }
    }

    fn apply_to(self, profile: &mut Profile) {
        fn set<T>(field: &mut T, named: Option<T>) {
            if let Some(value) = named {
                *field = value;
            }
        }
        set(&mut profile.first_name, self.first_name);
        set(&mut profile.last_name, self.last_name);
        set(&mut profile.email, self.email);
        set(&mut profile.role, self.role);
        set(&mut profile.is_admin, self.is_admin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Duration = Duration::from_hours(12);

    fn org() -> Org {
        Org::new(Options::default())
    }

    fn update(json: &str) -> Update {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn members_are_those_in_the_range_but_for_ids_that_end_in_404() {
        let org = org();
        for (id, there) in [
            (0, false),
            (1, true),
            (404, false),
            (1_404, false),
            (4_040, true),
            (20_000, true),
        ] {
            assert_eq!(org.has(id), there, "{id}");
        }
        assert!(!org.has(20_001) && org.member(20_001).is_none() && org.member(404).is_none());
    }

    #[test]
    fn untouched_members_are_there_without_being_stored() {
        let org = org();
        let member = org.member(1_732).unwrap();
        assert_eq!(
            (member.id, member.mfa_opt_out, member.puts, member.changes),
            (1_732, false, 0, 0)
        );
        assert_eq!(member.profile.email, "user1732@example.com");
        assert_eq!(org.touched().count(), 0);
    }

    #[test]
    fn an_update_changes_what_it_names_and_nothing_else() {
        let mut org = org();
        let before = org.member(5).unwrap();
        org.update(5, update(r#"{"mfaOptOut": true}"#), NOON)
            .unwrap();
        let after = org.member(5).unwrap();
        assert!(after.mfa_opt_out);
        assert_eq!(after.profile, before.profile);
        assert_eq!(after.changed_at_ms, Some(12 * 3_600_000));

        org.update(5, update(r#"{"role": "Owner", "isAdmin": true}"#), NOON)
            .unwrap();
        let member = org.member(5).unwrap();
        assert_eq!(
            member.profile,
            Profile {
                role: "Owner".to_owned(),
                is_admin: true,
                ..before.profile
            }
        );
        assert!(member.mfa_opt_out);
        assert_eq!(member.changes, 2);
    }

    #[test]
    fn a_body_with_odd_fields_is_not_an_update() {
        for odd in [
            "",
            "null",
            r#"{"mfaOptOut": "true"}"#,
            r#"{"mfaOptOut": 1}"#,
            r#"{"mfaOptOut": null}"#,
            r#"{"mfa_opt_out": true}"#,
            r#"{"mfaOptOut": true, "mfaOptOut": false}"#,
            r#"{"mfaOptOut": true, "shoeSize": 43}"#,
            r#"{"firstName": 5}"#,
        ] {
            assert!(serde_json::from_str::<Update>(odd).is_err(), "{odd}");
        }
        assert_eq!(update("{}"), Update::default());
    }

    #[test]
    fn who_is_not_in_the_org_cannot_be_changed_and_is_not_kept() {
        let mut org = org();
        for id in [0, 404, 20_001, u64::MAX] {
            org.note_put(id);
            assert_eq!(
                org.update(id, update(r#"{"mfaOptOut": true}"#), NOON),
                Err(Refusal::NoSuchUser)
            );
        }
        assert_eq!(org.touched().count(), 0);
    }

    #[test]
    fn puts_count_whatever_comes_of_them() {
        let mut org = org();
        org.note_put(7);
        org.note_put(7);
        org.update(7, Update::default(), NOON).unwrap();
        let member = org.member(7).unwrap();
        assert_eq!(
            (member.puts, member.changes, member.mfa_opt_out),
            (2, 1, false)
        );
    }

    #[test]
    fn only_the_right_key_opens_the_org() {
        let org = org();
        assert_eq!(
            org.authorise(Credentials::Key(b"sandbox-key"), NOON),
            Ok(())
        );
        for wrong in [
            &b""[..],
            b"sandbox-ke",
            b"sandbox-key2",
            b"SANDBOX-KEY",
            b"\xff",
        ] {
            assert_eq!(
                org.authorise(Credentials::Key(wrong), NOON),
                Err(Refusal::WrongKey)
            );
            assert_eq!(
                org.authorise(Credentials::Token(wrong), NOON),
                Err(Refusal::WrongToken)
            );
        }
        assert_eq!(
            org.authorise(Credentials::Nothing, NOON),
            Err(Refusal::NoCredentials)
        );
    }

    #[test]
    fn a_token_is_good_until_its_end_and_not_a_moment_longer() {
        let mut org = org();
        let (token, end) = org
            .log_in("admin@example.com", "sandbox-password", 1, NOON)
            .unwrap();
        assert_eq!(end, NOON + Duration::from_mins(15));
        let show = Credentials::Token(token.as_bytes());
        assert_eq!(org.authorise(show, NOON), Ok(()));
        assert_eq!(
            org.authorise(show, end.saturating_sub(Duration::from_nanos(1))),
            Ok(())
        );
        assert_eq!(org.authorise(show, end), Err(Refusal::WrongToken));
    }

    #[test]
    fn every_session_has_its_own_token_and_ended_ones_are_forgotten() {
        let mut org = org();
        let mut log_in = |now| {
            org.log_in("admin@example.com", "sandbox-password", 1, now)
                .unwrap()
        };
        let ((first, end), (second, _)) = (log_in(NOON), log_in(NOON));
        assert_ne!(first, second);
        assert_eq!(first.len(), TOKEN_LENGTH);
        log_in(end);
        assert_eq!(org.tokens.len(), 1);
    }

    #[test]
    fn a_log_in_with_anything_wrong_says_what_a_server_would() {
        let mut org = org();
        assert_eq!(
            org.log_in("admin@example.com", "guess", 1, NOON),
            Err(Refusal::WrongPassword)
        );
        assert_eq!(
            org.log_in("who@example.com", "sandbox-password", 1, NOON),
            Err(Refusal::WrongPassword)
        );
        assert_eq!(
            org.log_in("admin@example.com", "sandbox-password", 2, NOON),
            Err(Refusal::NoSuchOrg)
        );
        assert!(org.tokens.is_empty());
    }
}
