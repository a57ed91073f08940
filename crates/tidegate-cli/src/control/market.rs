//! Publishes the demo's market through the hub; the prices are made in `feeds`.

use crate::feeds::Market;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidegate_hub::{Hub, RawJson};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, error};

/// Publishes until it is aborted: each symbol [`PER_SECOND`] times a second, one after the other.
pub(super) async fn run(hub: Hub) {
    let mut market = Market::new(SEED);
    let mut beat = interval(Duration::from_secs(1) / (PER_SECOND * market.symbols() as u32));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let tick = market.tick(unix_millis());
        let Ok(data) = RawJson::parse(&tick.json) else {
            error!(channel = tick.channel, "a simulated price is not JSON");
            return;
        };
        let channel = tick.channel.clone();
        hub.publish(&tick.channel, data, move |result| {
            if let Err(error) = result {
                debug!(channel, %error, "a simulated price was not published");
            }
        });
    }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// New prices of each symbol a second.
const PER_SECOND: u32 = 5;

/// Every start shows the same walk.
const SEED: u64 = 0x71DE_6A7E;
