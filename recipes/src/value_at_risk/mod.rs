//! Value at risk and expected shortfall of a portfolio by Monte-Carlo simulation, in integer arithmetic on any GPU.
//!
//! # Design
//! Monthly log returns are taken as jointly normal; mean and covariance come from a price file. What needs floating point (statistics
//! of the prices, Cholesky factor, function tables) is computed once by the customer and rounded into fixed point; the kernel draws
//! paths with integers only, so every device gives the same bytes. Formats and rounding: `recipes/value-at-risk/README.md`.
//!
//! # Not here
//! Fat tails, changing volatility, options, cash flows: the answer is as good as the model, and says which it is.

mod blob;
mod math;
mod model;
mod path;
mod plan;
mod prices;
mod report;
mod tables;

pub use plan::ValueAtRisk;
