//! The longer help texts: examples, exit codes, variables. Text only.

/// Below the short help.
pub(super) const SEE_MORE: &str = "`--help` shows examples, exit codes and environment variables.";

/// Below the long help of the program.
pub(super) const EXIT_CODES: &str = "\
EXIT CODES
  0    every row is applied, or a duplicate, or unchanged
  1    finished, but some rows failed, are unknown or invalid: look at the report, or `retry`
  2    nothing was changed: usage, settings, input, a guard, or the wrong address
  3    the credentials were refused
  4    another run is working on this report or register
  5    stopped early; the same command continues the run
  129  interrupted by SIGHUP, as when a terminal is closed; the same command continues the run
  130  interrupted by Ctrl-C; the same command continues the run
  143  interrupted by SIGTERM; the same command continues the run

EXAMPLES
  Practise first; nothing leaves this machine:
    mfa-optout apply users.csv --sandbox
  See the plan, send nothing:
    mfa-optout apply users.csv --address https://eu.core.resolver.com --dry-run
  Do it:
    mfa-optout apply users.csv --address https://eu.core.resolver.com --api-key-file key.txt";

/// On the manual page of the program: the fields of the run's record.
pub(super) const RECORD: &str = "\
THE RECORD
  Beside every report is the run's record, a JSON object: users.report.json for users.report.csv.
  New fields may be added at any time; `format` changes when a field is renamed or removed.

  format         the version of this form, now 2
  version        the version of the tool
  command        apply, sync, retry or undo
  input          the name of the table; input_blake3 is its BLAKE3 hash
  report_blake3  the BLAKE3 hash of the report; null while there is none
  address        the address of the Org
  identity       what must be the same for an interrupted run to be continued: how the table was
                 read, the columns that the report carries, --set, the register
  options        every option that was in effect, by the name of its flag; never a secret
  started        when the run began, in UTC; ended is when it ended
  rows           the number of rows; outcomes has them by outcome, statuses by the HTTP status of
                 their last response
  traffic        requests, retries, log_ins, throttled_ms (how long the Org held back all requests)
                 and rate_per_second (the rate at the end)
  traffic_is_complete
                 false if a process was killed, so that requests may be missing in traffic
  latency        the times of responses in milliseconds (p50_ms to max_ms) and their histogram;
                 null if there are none
  throttled      when the Org held back all requests; outages is when it did not respond: from and
                 lasted_ms
  series         requests and rows over time: bars of bar_ms milliseconds, the first begins at from
  failures       rows that need attention, grouped: outcome, http_status, reason, count, examples
                 (line and user), meaning and next
  runs           who started the run and who continued it, when, why, and how it was confirmed
  ending         how the run ended, in words; exit_code is the exit code; both are null if it was
                 killed
  closed         whether the run was ended by `close` or --fresh";

/// Below the long help of `apply`.
pub(super) const APPLY: &str = "\
THE TABLE
  A header row, a column with user IDs (User ID) and one with flags (MFA opt-out: true or false):
    User ID,Name,MFA opt-out
    1732,Jo Miller,true
    1733,Sam Okafor,false

EXAMPLES
  Practise first; nothing leaves this machine:
    mfa-optout apply users.csv --sandbox
  Opt out everybody in a table that has no flags:
    mfa-optout apply ids.csv --set true --address https://eu.core.resolver.com
  Do not ask, but refuse to opt out more than 20 people:
    mfa-optout apply users.csv --yes --max-opt-outs 20 --address https://eu.core.resolver.com
  Write the plan as a page, to be attached to a ticket; nothing is sent:
    mfa-optout apply users.csv --dry-run --html plan.html --address https://eu.core.resolver.com

ENVIRONMENT
  MFA_OPTOUT_API_KEY holds the API key; or MFA_OPTOUT_EMAIL, MFA_OPTOUT_PASSWORD and
  MFA_OPTOUT_ORG sign in with a session.
  Options with a value can be given as variables, such as MFA_OPTOUT_MAX_WAIT for --max-wait;
  --set cannot, and switches, such as --yes, count on the command line only.
  The command line overrides the environment, and the environment overrides mfa-optout.toml.

EXIT CODES
  0 all done   1 some rows need attention   2 nothing was changed   3 credentials refused
  4 another run has the report or register   5 stopped early   130, 143 interrupted
  After 5, 129, 130 and 143 the same command continues the run.";

/// Below the long help of `sync`.
pub(super) const SYNC: &str = "\
EXAMPLES
  The first time, and once a week against drift, send every row:
    mfa-optout sync exceptions.csv --full --config /etc/mfa-optout.toml
  A scheduled job, with address, key and register in a config file:
    mfa-optout sync exceptions.csv --yes --quiet --config /etc/mfa-optout.toml

WHAT IS SENT
  Only rows that differ from the register. People who have left the table are opted back in, unless
  they are on another list. If too many are missing at once (--max-missing), nothing is sent.

EXIT CODES
  Those of `apply`. After an interruption run the same command again, also with another table.";

/// Below the long help of `exceptions`.
pub(super) const EXCEPTIONS: &str = "\
EXAMPLES
  Everybody who is opted out, sorted by end date:
    mfa-optout exceptions --register register.csv
  Fail if anybody is opted out without an end:
    mfa-optout exceptions --register register.csv --without-end --fail-if-any";

/// Below the long help of `retry`.
pub(super) const RETRY: &str = "\
EXAMPLES
  Send again what failed, is unknown or was not sent:
    mfa-optout retry users.report.csv --address https://eu.core.resolver.com
  Only what is unknown:
    mfa-optout retry users.report.csv --only unknown --address https://eu.core.resolver.com

The result is a new report; the earlier one stays as it is. Exit codes are those of `apply`.";

/// Below the long help of `undo`.
pub(super) const UNDO: &str = "\
EXAMPLES
  See what would be sent:
    mfa-optout undo users.report.csv --dry-run --address https://eu.core.resolver.com
  Send it:
    mfa-optout undo users.report.csv --reason \"a mistake\" --address https://eu.core.resolver.com

The result is a new report; the earlier one stays as it is. Exit codes are those of `apply`.";

/// Below the long help of `close`.
pub(super) const CLOSE: &str = "\
EXAMPLES
  End a run that was interrupted because the table was wrong:
    mfa-optout close users.report.csv
  Then take back what it had done:
    mfa-optout undo users.report.csv --address https://eu.core.resolver.com

EXIT CODES
  0 the report was made   2 there is nothing to close   4 the run goes on, and is left alone
  5 the report could not be made; the run can still be resumed or closed";

/// Below the long help of `sandbox`.
pub(super) const SANDBOX: &str = "\
EXAMPLES
  Practise by hand in a browser (Swagger page at /api) and with `apply --address`:
    mfa-optout sandbox
  An Org that is slow, throttles, and fails now and then:
    mfa-optout sandbox --latency 300ms --rate-limit 20/s --error-percent 5
  An Org that does not answer from the 10th to the 40th second:
    mfa-optout sandbox --outage 10s..40s";

/// Below the long help of `config`.
pub(super) const CONFIG: &str = "\
EXAMPLES
  What applies here, and why:
    mfa-optout config
  What would apply with another profile:
    mfa-optout config --profile production";
