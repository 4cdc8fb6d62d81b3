//! Updates: making deployments, switching between them, and deciding which ones are kept.

pub mod availability;
pub mod retention;
pub mod switcher;
pub mod updater;

#[cfg(test)]
mod tests;
