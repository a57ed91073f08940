//! `bench handshake`: connections are opened and closed politely, over and over, so many at once.

use super::driver::{Driver, Load, Out};
use super::measure::{Latencies, Measured};
use super::plan::Plan;
use super::target::not_connected;
use crate::error::Failure;
use tidegate_proto::Message;

/// The load.
pub(crate) struct Handshake {
    /// Places whose connection is to be begun.
    free: Vec<usize>,
    under_way: usize,
    count: u64,
    failed_in_a_row: usize,
    patience: usize,
    stopped: bool,
    pub(crate) errors: u64,
    pub(crate) latencies: Latencies,
}

impl Handshake {
    /// As planned.
    pub(crate) fn new(plan: &Plan) -> Handshake {
        Handshake {
            free: (0..plan.connections).rev().collect(),
            under_way: 0,
            count: 0,
            failed_in_a_row: 0,
            patience: plan.connections,
            stopped: false,
            errors: 0,
            latencies: Latencies::new(),
        }
    }
}

impl Load for Handshake {
    fn opened(&mut self, _id: usize, out: &mut Out<'_>) {
        self.count += 1;
        self.failed_in_a_row = 0;
        out.close();
    }

    fn message(
        &mut self,
        _id: usize,
        _message: &Message<'_>,
        _out: &mut Out<'_>,
    ) -> Result<(), Failure> {
        Ok(()) // a greeting
    }

    fn closed(&mut self, id: usize) {
        self.under_way -= 1;
        self.free.push(id);
    }

    fn lost(&mut self, id: usize) {
        self.under_way -= 1;
        self.errors += 1;
        self.failed_in_a_row += 1;
        self.free.push(id);
    }
}

impl Measured for Handshake {
    fn between(&mut self, driver: &mut Driver<'_>) -> Result<(), Failure> {
        for nanos in driver.openings.drain(..) {
            self.latencies.record(nanos);
        }
        if self.failed_in_a_row > self.patience || (self.errors > 0 && self.count == 0) {
            return Err(not_connected(format!(
                "{} handshakes came about, then {} in a row did not: {}",
                self.count,
                self.failed_in_a_row,
                driver.why_lost()
            )));
        }
        if self.stopped {
            return Ok(());
        }
        while let Some(id) = self.free.pop() {
            driver.start(id)?;
            self.under_way += 1;
        }
        Ok(())
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn awaiting(&self) -> bool {
        self.under_way > 0
    }

    fn begin_window(&mut self) {
        self.latencies.reset();
    }

    fn stop(&mut self) {
        self.stopped = true;
    }
}
