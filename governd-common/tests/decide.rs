//! A decision as one number.

use governd_common::{
    decide::{Decision, Proof},
    verdict::{Mode, Reason, Verdict},
};

#[test]
fn a_decision_survives_its_number() {
    let modes = [Mode::Monitor, Mode::Enforce];
    for (index, reason) in Reason::ALL.iter().enumerate() {
        for bits in 0..16_u32 {
            let proofs = [Proof::None, Proof::Name, Proof::Denials, Proof::Quic];
            let decision = Decision {
                verdict: if bits & 1 == 0 { Verdict::Deny } else { Verdict::Allow },
                reason: *reason,
                mode: modes[bits as usize >> 1 & 1],
                rule: u32::MAX - bits,
                set: 0x1f_ffff >> (index % 21),
                quiet: bits & 4 != 0,
                proof: proofs[bits as usize >> 2],
            };
            assert_eq!(Decision::unpack(decision.pack()), decision);
        }
    }
}

#[test]
fn a_number_that_is_no_decision_denies() {
    assert_eq!(Decision::unpack(0), Decision::FAULT);
    assert_eq!(Decision::unpack(u64::MAX), Decision::FAULT);
}
