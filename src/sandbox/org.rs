//! The state of the practice Org: its members, the key and tokens that open it, and the changes
//! made so far.
//!
//! [`PracticeOrg`] is plain data. Times are passed in as a [`Duration`] since the start; requests
//! and pages are handled elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::iter;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::SandboxOptions;

/// Length of a session token, in characters.
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

/// A user of the practice Org.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// ID of the user.
    pub id: u64,
    /// Name, address and role, generated from the ID until a PUT sets them.
    #[serde(flatten)]
    pub profile: Profile,
    /// Whether the user signs in without multi-factor authentication. Starts as `false`.
    pub mfa_opt_out: bool,
    /// Number of PUTs received for this user, including those that failed.
    pub puts: u64,
    /// Number of PUTs that were carried out (204).
    pub changes: u64,
    /// Time of the last change, in whole milliseconds since the start; `None` if there was none.
    pub changed_at_ms: Option<u64>,
}

/// The fields of a membership other than the opt-out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    pub first_name: String,
    pub last_name: String,
    pub email: String,
    pub role: String,
    pub is_admin: bool,
}

impl Profile {
    /// Generates the profile for an ID. The same ID always gives the same person.
    fn generate(id: u64) -> Self {
        Self {
            first_name: pick(&FIRST_NAMES, id),
            last_name: pick(&LAST_NAMES, id / 16),
            email: format!("user{id}@example.com"),
            role: "Standard User".to_owned(),
            is_admin: false,
        }
    }
}

fn pick(names: &[&str; 16], number: u64) -> String {
    let index = usize::try_from(number % 16).unwrap_or_default();
    names[index].to_owned()
}

/// The body of a PUT: a partial update that leaves out the fields that stay as they are.
///
/// Only `mfaOptOut` is known of the real API. The other fields are invented, to give the example a
/// body that has to be cut down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct MembershipUpdate {
    #[serde(default, deserialize_with = "present")]
    first_name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    last_name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    email: Option<String>,
    #[serde(default, deserialize_with = "present")]
    role: Option<String>,
    #[serde(default, deserialize_with = "present")]
    is_admin: Option<bool>,
    /// `true`: the user signs in without multi-factor authentication.
    #[serde(default, deserialize_with = "present")]
    mfa_opt_out: Option<bool>,
}

/// Reads a field that is present. Rejects `null`, which serde by itself would read as an absent
/// field.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The credentials in a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum PresentedCredentials<'a> {
    Nothing,
    Key(&'a [u8]),
    Token(&'a [u8]),
}

/// The reason why the Org refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NoCredentials,
    WrongKey,
    WrongToken,
    WrongPassword,
    NoSuchOrg,
    NoSuchUser,
}

/// The practice Org.
///
/// Only members that received a PUT take memory; the others are generated from their ID.
pub(super) struct PracticeOrg {
    options: SandboxOptions,
    touched: BTreeMap<u64, MemberState>,
    /// Expiry of each token.
    tokens: HashMap<String, Duration>,
    rng: fastrand::Rng,
}

/// The stored state of a member that received a PUT.
#[derive(Default)]
struct MemberState {
    mfa_opt_out: bool,
    /// `None` while it is the generated one.
    profile: Option<Box<Profile>>,
    puts: u64,
    changes: u64,
    changed_at_ms: Option<u64>,
}

impl PracticeOrg {
    pub(super) fn new(options: SandboxOptions) -> Self {
        let rng = fastrand::Rng::with_seed(options.faults.seed);
        Self {
            options,
            touched: BTreeMap::new(),
            tokens: HashMap::new(),
            rng,
        }
    }

    /// Returns the range that all member IDs are in.
    pub(super) fn range(&self) -> RangeInclusive<u64> {
        self.options.members.clone()
    }

    /// Checks whether the Org has a user with this ID: one in the range that does not end in 404.
    ///
    /// Users with an ID ending in 404 have left the Org, so that there is somebody to get a 404
    /// for.
    pub(super) fn has(&self, id: u64) -> bool {
        self.options.members.contains(&id) && id % 1_000 != 404
    }

    /// Returns the member with this ID, if there is one.
    pub(super) fn member(&self, id: u64) -> Option<Member> {
        if !self.has(id) {
            return None;
        }
        let member = match self.touched.get(&id) {
            Some(state) => state.to_member(id),
            None => MemberState::default().to_member(id),
        };
        Some(member)
    }

    /// Returns the members that received a PUT, by ID.
    pub(super) fn touched(&self) -> impl Iterator<Item = Member> {
        self.touched.iter().map(|(&id, state)| state.to_member(id))
    }

    /// Returns the IDs of the members that were changed.
    pub(super) fn changed(&self) -> impl Iterator<Item = u64> {
        self.touched
            .iter()
            .filter(|(_, state)| state.changes > 0)
            .map(|(&id, _)| id)
    }

    /// Returns the IDs of the members that sign in without multi-factor authentication.
    pub(super) fn opted_out(&self) -> impl Iterator<Item = u64> {
        self.touched
            .iter()
            .filter(|(_, state)| state.mfa_opt_out)
            .map(|(&id, _)| id)
    }

    /// Counts a PUT for a user, before it is known whether it succeeds.
    pub(super) fn note_put(&mut self, id: u64) {
        if self.has(id) {
            self.touched.entry(id).or_default().puts += 1;
        }
    }

    /// Checks whether the credentials are valid at the time `now`.
    pub(super) fn authorise(
        &self,
        credentials: PresentedCredentials<'_>,
        now: Duration,
    ) -> Result<(), Refusal> {
        match credentials {
            PresentedCredentials::Nothing => Err(Refusal::NoCredentials),
            PresentedCredentials::Key(key) if key == self.options.api_key.as_bytes() => Ok(()),
            PresentedCredentials::Key(_) => Err(Refusal::WrongKey),
            PresentedCredentials::Token(token) => {
                let expiry = str::from_utf8(token)
                    .ok()
                    .and_then(|token| self.tokens.get(token));
                match expiry {
                    Some(expiry) if now < *expiry => Ok(()),
                    _ => Err(Refusal::WrongToken),
                }
            }
        }
    }

    /// Opens a session and returns its token and its expiry.
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
        self.tokens.retain(|_, expiry| now < *expiry);
        let token: String = iter::repeat_with(|| self.rng.alphanumeric())
            .take(TOKEN_LENGTH)
            .collect();
        let expiry = now.saturating_add(self.options.token_life);
        self.tokens.insert(token.clone(), expiry);
        Ok((token, expiry))
    }

    /// Carries out a PUT.
    pub(super) fn update(
        &mut self,
        id: u64,
        update: MembershipUpdate,
        now: Duration,
    ) -> Result<(), Refusal> {
        if !self.has(id) {
            return Err(Refusal::NoSuchUser);
        }
        let state = self.touched.entry(id).or_default();
        state.changes += 1;
        state.changed_at_ms = u64::try_from(now.as_millis()).ok();
        state.mfa_opt_out = update.mfa_opt_out.unwrap_or(state.mfa_opt_out);
        if update.sets_profile() {
            let profile = state
                .profile
                .get_or_insert_with(|| Box::new(Profile::generate(id)));
            update.apply_to(profile);
        }
        Ok(())
    }
}

impl MemberState {
    fn to_member(&self, id: u64) -> Member {
        let profile = match &self.profile {
            Some(profile) => Profile::clone(profile),
            None => Profile::generate(id),
        };
        Member {
            id,
            profile,
            mfa_opt_out: self.mfa_opt_out,
            puts: self.puts,
            changes: self.changes,
            changed_at_ms: self.changed_at_ms,
        }
    }
}

impl MembershipUpdate {
    /// Checks whether any field other than the opt-out is set. Most PUTs set none, and their
    /// members stay small.
    fn sets_profile(&self) -> bool {
        let without_profile = Self {
            mfa_opt_out: self.mfa_opt_out,
            ..Self::default()
        };
        *self != without_profile
    }

    fn apply_to(self, profile: &mut Profile) {
        set_if_present(&mut profile.first_name, self.first_name);
        set_if_present(&mut profile.last_name, self.last_name);
        set_if_present(&mut profile.email, self.email);
        set_if_present(&mut profile.role, self.role);
        set_if_present(&mut profile.is_admin, self.is_admin);
    }
}

fn set_if_present<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Duration = Duration::from_hours(12);

    fn org() -> PracticeOrg {
        PracticeOrg::new(SandboxOptions::default())
    }

    fn update(json: &str) -> MembershipUpdate {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn has_the_ids_in_range_except_those_ending_in_404() {
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
    fn returns_untouched_members_without_storing_them() {
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
    fn update_changes_only_the_fields_it_sets() {
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
    fn rejects_a_body_with_wrong_fields() {
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
            assert!(
                serde_json::from_str::<MembershipUpdate>(odd).is_err(),
                "{odd}"
            );
        }
        assert_eq!(update("{}"), MembershipUpdate::default());
    }

    #[test]
    fn refuses_unknown_users_without_storing_them() {
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
    fn counts_every_put_with_any_response() {
        let mut org = org();
        org.note_put(7);
        org.note_put(7);
        org.update(7, MembershipUpdate::default(), NOON).unwrap();
        let member = org.member(7).unwrap();
        assert_eq!(
            (member.puts, member.changes, member.mfa_opt_out),
            (2, 1, false)
        );
    }

    #[test]
    fn accepts_only_the_right_key() {
        let org = org();
        assert_eq!(
            org.authorise(PresentedCredentials::Key(b"sandbox-key"), NOON),
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
                org.authorise(PresentedCredentials::Key(wrong), NOON),
                Err(Refusal::WrongKey)
            );
            assert_eq!(
                org.authorise(PresentedCredentials::Token(wrong), NOON),
                Err(Refusal::WrongToken)
            );
        }
        assert_eq!(
            org.authorise(PresentedCredentials::Nothing, NOON),
            Err(Refusal::NoCredentials)
        );
    }

    #[test]
    fn accepts_a_token_until_it_expires() {
        let mut org = org();
        let (token, end) = org
            .log_in("admin@example.com", "sandbox-password", 1, NOON)
            .unwrap();
        assert_eq!(end, NOON + Duration::from_mins(15));
        let show = PresentedCredentials::Token(token.as_bytes());
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
        let (first, end) = log_in(NOON);
        let (second, _) = log_in(NOON);
        assert_ne!(first, second);
        assert_eq!(first.len(), TOKEN_LENGTH);
        log_in(end);
        assert_eq!(org.tokens.len(), 1);
    }

    #[test]
    fn refuses_a_login_for_the_part_that_is_wrong() {
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
