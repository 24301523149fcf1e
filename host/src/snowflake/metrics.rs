//! Metrics of snowflake.

use prometheus::{IntCounter, IntGauge, Registry};

/// What snowflake counts. No label carries a name of a sequence.
#[derive(Debug, Clone)]
pub struct SnowflakeMetrics {
    /// Ids handed to callers; guests' are not counted.
    pub ids: IntCounter,
    /// Callers that got none.
    pub refused: IntCounter,
    /// The machine number held; -1 without one.
    pub machine: IntGauge,
    /// Machine numbers lost, with the lease or to another node.
    pub lost: IntCounter,
    /// Numbers of sequences handed out.
    pub numbers: IntCounter,
    /// Writes of sequences: one serves all callers that wait for the same one.
    pub swaps: IntCounter,
    /// Writes of sequences that another node was quicker than.
    pub conflicts: IntCounter,
    /// Callers of sequences that wait.
    pub waiting: IntGauge,
}

impl SnowflakeMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// If a name is taken: a programming error, found by the first test that starts a node.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let machine = gauge("hotseat_snowflake_machine", "The machine number held; -1 without one")?;
        machine.set(-1);
        Ok(Self {
            ids: counter("hotseat_snowflake_ids_total", "Ids handed to callers")?,
            refused: counter("hotseat_snowflake_refused_total", "Requests for ids that got none")?,
            machine,
            lost: counter("hotseat_snowflake_lost_total", "Machine numbers lost")?,
            numbers: counter("hotseat_snowflake_numbers_total", "Numbers of sequences handed out")?,
            swaps: counter("hotseat_snowflake_swaps_total", "Writes of sequences")?,
            conflicts: counter("hotseat_snowflake_conflicts_total", "Writes another node was quicker than")?,
            waiting: gauge("hotseat_snowflake_waiting", "Callers of sequences that wait")?,
        })
    }
}
