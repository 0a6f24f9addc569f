//! The standard process metrics under their standard names. They are read from /proc and exist on Linux
//! only.

use prometheus_client::registry::Registry;

#[cfg(not(target_os = "linux"))]
pub(super) fn register(_: &mut Registry) {}

#[cfg(target_os = "linux")]
pub(super) fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(linux::Process));
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fmt::Error;

    use procfs::process::{LimitValue, Process as Own};
    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
    use prometheus_client::metrics::counter::ConstCounter;
    use prometheus_client::metrics::gauge::ConstGauge;

    #[derive(Debug)]
    pub struct Process;

    impl Collector for Process {
        fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
            // Without access to /proc there are no process metrics.
            let Ok(process) = Own::myself() else { return Ok(()) };
            let mut gauge = |name: &str, help: &str, value: f64| {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
            };
            if let Ok(stat) = process.stat() {
                let ticks = procfs::ticks_per_second() as f64;
                let resident = stat.rss as f64 * procfs::page_size() as f64;
                gauge("process_resident_memory_bytes", "Resident memory size in bytes.", resident)?;
                let help = "Virtual memory size in bytes.";
                gauge("process_virtual_memory_bytes", help, stat.vsize as f64)?;
                gauge("process_threads", "Number of OS threads.", stat.num_threads as f64)?;
                if let Ok(boot) = procfs::boot_time_secs() {
                    let help = "Start time of the process since the Unix epoch in seconds.";
                    let started = boot as f64 + stat.starttime as f64 / ticks;
                    gauge("process_start_time_seconds", help, started)?;
                }
                let cpu = ConstCounter::new((stat.utime + stat.stime) as f64 / ticks);
                let help = "Total user and system CPU time spent in seconds.";
                let name = "process_cpu_seconds";
                cpu.encode(encoder.encode_descriptor(name, help, None, cpu.metric_type())?)?;
            }
            let mut gauge = |name: &str, help: &str, value: f64| {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
            };
            if let Ok(open) = process.fd_count() {
                gauge("process_open_fds", "Number of open file descriptors.", open as f64)?;
            }
            if let Ok(limits) = process.limits()
                && let LimitValue::Value(most) = limits.max_open_files.soft_limit
            {
                gauge("process_max_fds", "Maximum number of open file descriptors.", most as f64)?;
            }
            Ok(())
        }
    }
}
