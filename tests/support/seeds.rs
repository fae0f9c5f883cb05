//! Random histories from a seed: a failure prints it, and with `WORLD_SEED` in the environment the same are drawn again.

use std::fmt::Debug;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Draws `cases` histories, or as many as `WORLD_CASES` says, and runs each with `test`.
pub fn histories<Step: Clone + Debug>(
    cases: u32,
    steps: &impl Strategy<Value = Vec<Step>>,
    test: impl Fn(&[Step]),
) {
    let seed = std::env::var("WORLD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(any_seed);
    let cases = std::env::var("WORLD_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&u64::to_be_bytes(seed));
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(steps, |steps| {
        test(&steps);
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("WORLD_SEED={seed}: {failure}"));
}

fn any_seed() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos().into()
}
