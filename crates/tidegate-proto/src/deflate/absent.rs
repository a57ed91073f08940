//! Stands where zlib-rs is when the cargo feature `deflate` is off. No value of its codecs ever exists,
//! because nothing can be agreed on: `Deflate` knows only `Off`, and there is no `set_deflate`.

#![expect(dead_code, reason = "only types are needed")]

pub(super) enum Deflate {}

pub(super) struct DeflateConfig {
    pub(super) level: i32,
    pub(super) method: Method,
    pub(super) window_bits: i32,
    pub(super) mem_level: i32,
    pub(super) strategy: Strategy,
}

pub(super) enum Method {
    Deflated,
}

pub(super) enum Strategy {
    Default,
}

pub(super) enum DeflateFlush {
    SyncFlush,
}

pub(super) enum Inflate {}

pub(super) enum InflateFlush {
    NoFlush,
    Block,
}

#[derive(PartialEq, Eq, Debug)]
pub(super) enum Status {
    StreamEnd,
}

impl Deflate {
    pub(super) fn new_with_config(_: DeflateConfig) -> Deflate {
        unreachable!("{NEVER}")
    }

    pub(super) fn reset(&mut self) {
        match *self {}
    }

    pub(super) fn total_in(&self) -> u64 {
        match *self {}
    }

    pub(super) fn total_out(&self) -> u64 {
        match *self {}
    }

    pub(super) fn compress(
        &mut self,
        _: &[u8],
        _: &mut [u8],
        _: DeflateFlush,
    ) -> Result<Status, ()> {
        match *self {}
    }
}

impl Inflate {
    pub(super) fn new(_: bool, _: u8) -> Inflate {
        unreachable!("{NEVER}")
    }

    pub(super) fn reset(&mut self, _: bool) {
        match *self {}
    }

    pub(super) fn total_in(&self) -> u64 {
        match *self {}
    }

    pub(super) fn total_out(&self) -> u64 {
        match *self {}
    }

    pub(super) fn set_dictionary(&mut self, _: &[u8]) -> Result<(), ()> {
        match *self {}
    }

    pub(super) fn decompress(
        &mut self,
        _: &[u8],
        _: &mut [u8],
        _: InflateFlush,
    ) -> Result<Status, ()> {
        match *self {}
    }
}

const NEVER: &str = "no codec is taken where compression was not agreed on";
