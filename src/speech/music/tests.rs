//! Music, noise and a voice, in whole and over each other.

use std::f32::consts::TAU;

use super::super::spectrum::Spectrum;
use super::*;

/// The evidence after `seconds` of a sound of the time.
fn after(music: &mut Music, seconds: usize, mut sound: impl FnMut(f32) -> f32) -> f32 {
    let mut spectrum = Spectrum::default();
    for frame in 0..seconds * 125 / 2 {
        let samples: Vec<f32> = (0..128).map(|n| sound((frame * 128 + n) as f32 / 8_000.0)).collect();
        spectrum.push(samples.into_iter());
        music.push(Some(&spectrum.energy()), true);
    }
    music.evidence()
}

/// Something between noise and no noise, repeatable.
fn noise(seed: &mut u32) -> f32 {
    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    (*seed >> 8) as f32 / (1 << 24) as f32 - 0.5
}

/// A voice in the small: syllables of a pitch that glides, each with a consonant.
fn voice(t: f32, seed: &mut u32) -> f32 {
    let (syllable, within) = ((t * 5.0) as u32, (t * 5.0).fract());
    let pitch = 120.0 + 40.0 * (1.7 * t).sin() - 25.0 * within;
    let colour = 1.0 + (syllable * 7 % 5) as f32;
    let phase = TAU * pitch * t;
    let vowel: f32 = (1..20).map(|n| (n as f32 * phase).sin() / (1.0 + (n as f32 - 3.0 * colour).abs())).sum();
    if within < 0.3 { 0.2 * noise(seed) } else { 0.2 * vowel * (1.0 - within) }
}

/// A melody of notes of a third of a second.
fn melody(t: f32) -> f32 {
    let pitch = 440.0 * 2f32.powf(((t * 3.0) as u32 * 5 % 12) as f32 / 12.0);
    (1..6).map(|n| (TAU * pitch * n as f32 * t).sin() / (n * n) as f32).sum::<f32>() * 0.2
}

#[test]
fn a_melody_and_noise_are_music_and_a_voice_is_none() {
    let mut seed = 3;
    let mut heard = Music::default();
    assert!(after(&mut heard, 4, melody) >= CERTAIN && heard.certain());
    let mut heard = Music::default();
    assert!(after(&mut heard, 4, |_| 0.1 * noise(&mut seed)) >= CERTAIN);
    let mut heard = Music::default();
    let evidence = after(&mut heard, 4, |t| voice(t, &mut seed));
    assert!(evidence <= -CERTAIN, "{evidence}");
}

#[test]
fn what_is_said_loudly_over_music_is_heard_and_the_music_after_it_is_music_again() {
    let mut seed = 5;
    let mut heard = Music::default();
    after(&mut heard, 5, |t| 0.1 * melody(t));
    assert!(heard.certain());
    let evidence = after(&mut heard, 3, |t| voice(t, &mut seed) + 0.1 * melody(t));
    assert!(evidence < 0.0, "{evidence}");
    let evidence = after(&mut heard, 5, |t| 0.1 * melody(t));
    assert!(evidence >= CERTAIN, "{evidence}");
}

#[test]
fn silence_begins_a_new_sound_and_leaves_half_of_what_was_known() {
    let mut heard = Music::default();
    let before = after(&mut heard, 4, melody);
    for _ in 0..=QUIET + 5 {
        heard.push(None, false);
    }
    assert!(!heard.listens());
    assert_eq!(heard.evidence(), before * LEFT);
}

#[test]
fn extreme_sound_gives_numbers() {
    for level in [0.0, 1e-30, 1.0] {
        let mut heard = Music::default();
        let evidence =
            after(&mut heard, 3, |t| level * if ((t * 8_000.0) as u32).is_multiple_of(2) { 1.0 } else { -1.0 });
        assert!(evidence.is_finite(), "{level}: {evidence}");
    }
}
