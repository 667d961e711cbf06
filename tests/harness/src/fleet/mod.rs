//! A fleet: one `sluice control` and the `sluice proxy` processes that follow it.
//!
//! Each process has addresses and a folder that stay while it is killed and started again.

mod control;
mod proxy;

pub use control::{Control, ControlSetup, control};
pub use proxy::{Proxy, ProxySetup, proxy};

/// A control plane and its proxies.
#[derive(Debug)]
pub struct Fleet {
    /// First, so that it is dropped first.
    pub control: Control,
    /// Named `node-1` and so on.
    pub proxies: Vec<Proxy>,
}

impl Fleet {
    /// Starts proxies after their control plane, each with an address of its own for these listeners of the document,
    /// and waits until all run its head.
    ///
    /// # Panics
    /// When one does not get ready; its stderr is told.
    #[must_use]
    pub fn start(control: Control, count: usize, listeners: &[&str]) -> Self {
        let start = |number| {
            let setup = proxy(&control, &format!("node-{number}"));
            listeners.iter().fold(setup, |setup, name| setup.listener(name)).start()
        };
        let proxies = (1..=count).map(start).collect();
        let fleet = Self { control, proxies };
        fleet.wait_all(fleet.control.api().head());
        fleet
    }

    /// Waits until every proxy runs this revision or a later one, by its own word.
    ///
    /// # Panics
    /// When one does not; its stderr is told.
    pub fn wait_all(&self, revision: u64) {
        self.proxies.iter().for_each(|proxy| proxy.wait_revision(revision));
    }
}
