//! Everything that reads what others wrote, fed with what nobody would write: no reader may panic, and what it makes of nonsense must keep the
//! promises of its module (nothing is believed unsigned, nothing is approved by a broken server, what was read can be written again).
//!
//! ```text
//! fuzz/material.rs   good documents, spoiled by recipe: random bytes alone never get past the first brace
//! fuzz/steady.rs     the engine of `cargo test`: the same few thousand inputs every time
//! fuzz/sample.rs     calls and accounts that the readers are asked with
//! fuzz/stripe.rs  fuzz/alipay.rs  fuzz/wechatpay.rs  fuzz/bank.rs  fuzz/documents.rs    the targets
//! ```
//!
//! `.ci/fuzz SECONDS` runs each target for that long with inputs that are new every time (bolero's own engine, on the stable toolchain); a
//! failure is shrunk and shown with its seed. An input that once broke something is kept as an ordinary test beside the code that it broke.

#[path = "fuzz/alipay.rs"]
mod alipay;
#[path = "fuzz/bank.rs"]
mod bank;
#[path = "fuzz/documents.rs"]
mod documents;
#[path = "fuzz/material.rs"]
mod material;
#[path = "fuzz/sample.rs"]
mod sample;
#[path = "fuzz/steady.rs"]
mod steady;
#[path = "fuzz/stripe.rs"]
mod stripe;
#[path = "fuzz/wechatpay.rs"]
mod wechatpay;

/// Runs a target, a closure from bytes: with bolero's engine where its environment variables say for how long, else with the steady one and
/// this many inputs. A macro, because bolero wants to know the function that it stands in.
macro_rules! fuzz {
    ($inputs:literal, $target:expr) => {{
        // A target changes nothing that a panic could leave half changed.
        let target = std::panic::AssertUnwindSafe($target);
        let target = move |input: &[u8]| {
            let target = &target;
            (target.0)(input)
        };
        if crate::steady::is_wanted() {
            bolero::TestTarget::new(crate::steady::Steady { inputs: $inputs }).for_each(target);
        } else {
            bolero::check!().for_each(target);
        }
    }};
}
pub(crate) use fuzz;
