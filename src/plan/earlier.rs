//! What an earlier report says is so already. Two sets of IDs, in which the later row wins.

use std::path::Path;

use roaring::RoaringTreemap;

use super::row_check::{Reading, RowRequest};
use super::{Options, problems};
use crate::domain::Flag;
use crate::error::{Error, Kind, Result};
use crate::input::{Input, Row, Source};

/// The users whose flag is known, by flag.
#[derive(Default)]
pub(super) struct Earlier {
    opted_out: RoaringTreemap,
    opted_in: RoaringTreemap,
    fingerprint: Option<blake3::Hash>,
}

impl Earlier {
    /// Reads the report of an earlier run.
    pub(super) fn read(path: &Path, options: &Options) -> Result<Self> {
        let input_options = crate::input::Options {
            id_column: options.input.id_column.clone(),
            ..crate::input::Options::default()
        };
        let source = Source::Path(path.to_owned());
        let input = Input::open(&source, &input_options)?;
        if !input.columns().is_report() {
            let message = format!(
                "the baseline {} is not the report of an earlier run",
                source.name()
            );
            return Err(
                Error::new(Kind::Input, message).help("give the .report.csv of the last run")
            );
        }
        let options = Options {
            input: input_options,
            baseline: None,
            selection: super::Selection::All,
            ..options.clone()
        };
        let fingerprint = Some(input.found().fingerprint);
        Self {
            fingerprint,
            ..Self::default()
        }
        .fill(&input, &options)
    }

    /// BLAKE3 of the raw bytes of the report; `None` where there is none.
    pub(super) fn fingerprint(&self) -> Option<blake3::Hash> {
        self.fingerprint
    }

    fn fill(mut self, input: &Input, options: &Options) -> Result<Self> {
        let reading = Reading::new(input, options);
        let mut rows = input.rows()?;
        let mut row = Row::default();
        while rows.read(&mut row)? {
            match reading.reported(&row) {
                Ok(Some((user, flag))) => {
                    let (now, before) = self.sets(flag);
                    now.insert(user.get());
                    before.remove(user.get());
                }
                Ok(None) => {}
                Err(fault) => {
                    let words = problems::describe(input, rows.place(&row), &row, fault);
                    return Err(Error::new(
                        Kind::Input,
                        format!("the baseline can't be understood: {words}"),
                    )
                    .help("give the .report.csv of the last run as it was written"));
                }
            }
        }
        Ok(self)
    }

    fn sets(&mut self, flag: Flag) -> (&mut RoaringTreemap, &mut RoaringTreemap) {
        if flag.is_opt_out() {
            (&mut self.opted_out, &mut self.opted_in)
        } else {
            (&mut self.opted_in, &mut self.opted_out)
        }
    }

    /// Returns whether the user already has the requested flag.
    pub(super) fn is_up_to_date(&self, request: &RowRequest) -> bool {
        let known = if request.flag.is_opt_out() {
            &self.opted_out
        } else {
            &self.opted_in
        };
        !known.is_empty() && known.contains(request.user.get())
    }
}
