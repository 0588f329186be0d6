//! Which instruction set the kernels run on: found once, at the first use.

use std::sync::OnceLock;

/// An instruction set that this processor has. Made by `level` and `available` only, so a
/// value is the proof that its instructions may be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(Isa);

/// The instruction sets that kernels are written for, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Isa {
    /// Plain Rust.
    Scalar,
    /// AVX2, FMA and F16C: x86-64 since 2013.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, VL and VNNI: since Ice Lake and Zen 4.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// NEON with `sdot`: since Cortex-A75 and Apple M1.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Level {
    /// Plain Rust, which every processor has.
    pub const SCALAR: Self = Self(Isa::Scalar);

    pub(super) fn isa(self) -> Isa {
        self.0
    }
}

/// The best level of this processor. `PORTOLAN_ISA=scalar` or, on x86-64, `avx2` in the
/// environment lowers it, to measure and to test the others; it never raises it.
#[inline]
#[must_use]
pub fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        let wanted = std::env::var("PORTOLAN_ISA").unwrap_or_default();
        let usable = available();
        let named = usable.iter().find(|level| level.name() == wanted);
        named.or(usable.last()).copied().unwrap_or(Level::SCALAR)
    })
}

/// Every level of this processor, the best last. Tests compare them with one another.
#[must_use]
#[allow(unused_mut, reason = "other processors have one level")]
pub fn available() -> Vec<Level> {
    let mut levels = vec![Level::SCALAR];
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
        {
            levels.push(Level(Isa::Avx2));
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
            {
                levels.push(Level(Isa::Avx512));
            }
        }
    }
    // In a big-endian process the lanes of a register are in another order than in memory.
    #[cfg(target_arch = "aarch64")]
    if cfg!(target_endian = "little")
        && std::arch::is_aarch64_feature_detected!("neon")
        && std::arch::is_aarch64_feature_detected!("dotprod")
    {
        levels.push(Level(Isa::Neon));
    }
    levels
}

impl Level {
    /// The name that `PORTOLAN_ISA` takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Isa::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => "neon",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_level_is_the_one_that_the_machine_is_said_to_have() {
        let names: Vec<&str> = available().into_iter().map(Level::name).collect();
        assert_eq!(names.first(), Some(&"scalar"));
        // Set where the processor is chosen, as by an emulator: tests of a level that was not
        // detected would pass without running it.
        if let Ok(expected) = std::env::var("PORTOLAN_EXPECTED_LEVEL") {
            assert_eq!(names.last(), Some(&expected.as_str()));
        }
    }

    #[test]
    fn the_level_that_the_environment_names_is_in_use_where_the_processor_has_it() {
        let names: Vec<&str> = available().into_iter().map(Level::name).collect();
        // Shown on request: a level that is not in the list was not tested here.
        println!("levels of this processor: {}; in use: {}", names.join(", "), level().name());
        let wanted = std::env::var("PORTOLAN_ISA").unwrap_or_default();
        let expected = names.iter().find(|name| **name == wanted).or(names.last());
        assert_eq!(Some(&level().name()), expected);
    }
}
