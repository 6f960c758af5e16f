//! Credentials.

/// What requests to the Org are authenticated with.
///
/// `S` is the key or the password: the secret itself, or the place from which it will be read.
#[derive(Clone, Debug)]
pub enum Credentials<S> {
    /// An API key, which belongs to one Org and does not expire.
    Key(S),
    /// An account that signs in, which gives a token for 15 minutes.
    Session {
        /// The e-mail address of the account.
        email: String,
        /// The password of the account.
        password: S,
        /// The number of the Org.
        org: u64,
    },
}

impl<S> Credentials<S> {
    /// Returns the key or the password.
    #[must_use]
    pub fn secret(&self) -> &S {
        match self {
            Self::Key(secret)
            | Self::Session {
                password: secret, ..
            } => secret,
        }
    }
}
