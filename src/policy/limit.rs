//! What is known of the Org's limit, and the rate that follows from it while no request is refused:
//! the search from the floor to the top, then probing above the top. The law is explained in
//! `rate_controller`.

/// Floor of the search, as a share of the estimate.
pub(super) const FLOOR_SHARE: f64 = 0.97;
/// Smallest ratio of top to floor.
const MIN_SEARCH_RANGE: f64 = 1.005;
/// Number of requests that the search from floor to top takes.
const SEARCH_REQUESTS: f64 = 300.0;
/// Shortest search, in seconds.
const MIN_SEARCH: f64 = 15.0;
/// Longest search, in seconds.
const MAX_SEARCH: f64 = 60.0;
/// Ratio of floor to top from which a search takes the longest time, once the server has sent a
/// waiting time.
const NARROW: f64 = 0.9;
/// How far the rate is above the top after twice the search time, as a share of the top.
const PROBE_STEP: f64 = 0.05;

/// What is known of the limit. Rates are requests per second, times are seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limit {
    /// The rate that was measured.
    estimate: f64,
    /// Rate at which the search begins.
    floor: f64,
    /// Rate at which the search ends and probing above the limit begins.
    top: f64,
    /// Time from floor to top.
    search: f64,
}

impl Limit {
    /// Returns a limit that is searched between `floor` and `top`; slowly if each refusal costs a
    /// waiting time.
    pub(super) fn new(estimate: f64, floor: f64, top: f64, is_refusal_costly: bool) -> Self {
        let top = top.max(MIN_SEARCH_RANGE * floor);
        let search = if is_refusal_costly && floor > NARROW * top {
            MAX_SEARCH
        } else {
            (SEARCH_REQUESTS / top).clamp(MIN_SEARCH, MAX_SEARCH)
        };
        Self {
            estimate,
            floor,
            top,
            search,
        }
    }

    /// Returns the rate that was measured.
    pub(super) fn estimate(&self) -> f64 {
        self.estimate
    }

    /// Returns the rate at this time after the last episode.
    pub(super) fn rate_after(&self, clock: f64) -> f64 {
        let searched = clock / self.search;
        if searched < 1.0 {
            self.floor * (self.top / self.floor).powf(searched)
        } else {
            self.top * (1.0 + PROBE_STEP * (searched - 1.0).powi(3))
        }
    }
}
