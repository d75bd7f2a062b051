//! Something that takes a while, told while it goes on and when it is done.

use std::time::Duration;

use alluvium_tests::events::Tally;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// So that a step without steps of its own is seen to go on.
const TICK: Duration = Duration::from_millis(200);

/// One step of the show.
pub struct Progress {
    what: &'static str,
    bar: ProgressBar,
    began: Instant,
}

impl Progress {
    /// A step that counts records.
    pub fn counting(what: &'static str, records: u64) -> anyhow::Result<Self> {
        let template = "{msg:24} {wide_bar} {human_pos} of {human_len} {eta}";
        let style = ProgressStyle::with_template(template)?;
        let bar = ProgressBar::new(records).with_style(style);
        Ok(Self::begin(what, bar))
    }

    /// A step of unknown length.
    pub fn waiting(what: &'static str) -> Self {
        Self::begin(what, ProgressBar::new_spinner())
    }

    fn begin(what: &'static str, bar: ProgressBar) -> Self {
        let bar = bar.with_message(what);
        bar.enable_steady_tick(TICK);
        let began = Instant::now();
        Self { what, bar, began }
    }

    /// For whoever counts.
    pub fn counter(&self) -> impl Fn(u64) + Clone + Send + Sync + 'static {
        let bar = self.bar.clone();
        move |records| bar.inc(records)
    }

    /// The step, which counted nothing, is done; says how long it took.
    pub fn over(self) {
        self.bar.finish_and_clear();
        let seconds = self.began.elapsed().as_secs_f64();
        println!("{:24} {seconds:.1} s", self.what);
    }

    /// The step is done; says how long it took.
    pub fn done(self, tally: &Tally) {
        self.bar.finish_and_clear();
        let seconds = self.began.elapsed().as_secs_f64();
        println!(
            "{:24} {} records in {seconds:.1} s, {:.0} a second",
            self.what,
            tally.records,
            tally.records as f64 / seconds
        );
    }
}
