//! The icon: a hub with three ends, drawn here in every size that a desktop asks for. Pure.
//!
//! A state is told by its shape as well as by its colour: the hub runs, two bars pause, an empty ring is away. What waits
//! is a number on a disc of its own.

use crate::view::State;

/// A colour: red, green, blue.
type Colour = [u8; 3];

const TEAL: Colour = [0x0f, 0x76, 0x6e];
const AMBER: Colour = [0xb4, 0x53, 0x09];
const GREY: Colour = [0x8a, 0x8f, 0x98];
const RED: Colour = [0xb9, 0x1c, 0x1c];
const WHITE: Colour = [0xff; 3];

/// Samples of a pixel, along each side.
const SAMPLES: u32 = 4;
/// The middles of the three ends; the hub is in the middle of the icon.
const ENDS: [(f32, f32); 3] = [(0.5, 0.23), (0.73, 0.64), (0.27, 0.64)];
/// The middle of the disc with the number, and its half width.
const BADGE: (f32, f32, f32) = (0.69, 0.69, 0.31);
/// The digits and `+`, five rows of three bits each.
const GLYPHS: [[u8; 5]; 11] = [
    [7, 5, 5, 5, 7],
    [2, 6, 2, 2, 7],
    [7, 1, 7, 4, 7],
    [7, 1, 7, 1, 7],
    [5, 5, 7, 1, 1],
    [7, 4, 7, 1, 7],
    [7, 4, 7, 5, 7],
    [7, 1, 2, 2, 2],
    [7, 5, 7, 5, 7],
    [7, 5, 7, 1, 7],
    [0, 2, 7, 2, 0],
];

/// A square of pixels, row by row: red, green, blue and opacity, a byte each.
pub(crate) struct Pixels {
    /// Pixels along each side.
    pub(crate) size: u32,
    /// The bytes.
    pub(crate) rgba: Vec<u8>,
}

#[cfg(any(target_os = "macos", test))]
impl Pixels {
    /// The bytes with each colour multiplied by its opacity.
    pub(crate) fn premultiplied(&self) -> Vec<u8> {
        let (pixels, _) = self.rgba.as_chunks();
        let multiplied = |[red, green, blue, opacity]: &[u8; 4]| {
            // A product of two bytes by 255 is a byte.
            let part = |part: &u8| (u16::from(*part) * u16::from(*opacity) / 255) as u8;
            [part(red), part(green), part(blue), *opacity]
        };
        pixels.iter().flat_map(multiplied).collect()
    }
}

/// Draws it, `size` pixels wide and high, with how many requests wait.
pub(crate) fn draw(state: State, waiting: usize, size: u32) -> Pixels {
    let mut rgba = Vec::new();
    for y in 0..size {
        for x in 0..size {
            rgba.extend(pixel(state, waiting, size, (x, y)));
        }
    }
    Pixels { size, rgba }
}

fn pixel(state: State, waiting: usize, size: u32, (x, y): (u32, u32)) -> [u8; 4] {
    let across = (size * SAMPLES) as f32;
    let at = |pixel: u32, sample: u32| ((pixel * SAMPLES + sample) as f32 + 0.5) / across;
    let (mut sum, mut hits) = ([0; 3], 0);
    for row in 0..SAMPLES {
        for column in 0..SAMPLES {
            let point = (at(x, column), at(y, row));
            let Some(colour) = badge(waiting, point).or_else(|| symbol(state, point)) else {
                continue;
            };
            hits += 1;
            for (sum, part) in sum.iter_mut().zip(colour) {
                *sum += u32::from(part);
            }
        }
    }
    // Each quotient is a mean of bytes.
    let [red, green, blue] = sum.map(|sum| sum.checked_div(hits).unwrap_or(0) as u8);
    let opacity = hits * 255 / (SAMPLES * SAMPLES);
    [red, green, blue, opacity as u8]
}

/// The state's part of a point; points go from 0 to 1.
fn symbol(state: State, at: (f32, f32)) -> Option<Colour> {
    let from_middle = distance(at, (0.5, 0.5));
    if from_middle > 0.48 {
        return None;
    }
    let bars = [0.38, 0.62].iter().any(|x| (at.0 - x).abs() < 0.07);
    match state {
        State::Running if hub(at) => Some(WHITE),
        State::Running => Some(TEAL),
        State::Paused if bars && (at.1 - 0.5).abs() < 0.24 => Some(WHITE),
        State::Paused => Some(AMBER),
        State::Away => (from_middle > 0.38 || hub(at)).then_some(GREY),
    }
}

fn hub(at: (f32, f32)) -> bool {
    let middle = (0.5, 0.5);
    distance(at, middle) < 0.12
        || ENDS
            .iter()
            .any(|end| distance(at, *end) < 0.095 || from_line(at, middle, *end) < 0.04)
}

/// The number's part of a point.
fn badge(waiting: usize, at: (f32, f32)) -> Option<Colour> {
    let (x, y, half) = BADGE;
    if waiting == 0 || distance(at, (x, y)) > half {
        return None;
    }
    let (glyphs, cell): (&[usize], f32) = match waiting {
        0..=9 => (&[waiting], 0.085),
        _ => (&[9, 10], 0.062),
    };
    let columns = glyphs.len() * 4 - 1;
    let column = (at.0 - x) / cell + columns as f32 / 2.0;
    let row = (at.1 - y) / cell + 2.5;
    if column < 0.0 || row < 0.0 {
        return Some(RED);
    }
    // Both are above 0 and small.
    let (column, row) = (column as usize, row as usize);
    let bits = glyphs
        .get(column / 4)
        .and_then(|glyph| GLYPHS[*glyph].get(row));
    let is_ink = column % 4 < 3 && bits.is_some_and(|bits| bits >> (2 - column % 4) & 1 == 1);
    Some(if is_ink { WHITE } else { RED })
}

fn distance(one: (f32, f32), other: (f32, f32)) -> f32 {
    // `hypot` of the C library is of glibc 2.35, and no other program needs that.
    let (x, y) = (one.0 - other.0, one.1 - other.1);
    (x * x + y * y).sqrt()
}

fn from_line(at: (f32, f32), from: (f32, f32), to: (f32, f32)) -> f32 {
    let (x, y) = (to.0 - from.0, to.1 - from.1);
    let along = ((at.0 - from.0) * x + (at.1 - from.1) * y) / (x * x + y * y);
    let along = along.clamp(0.0, 1.0);
    distance(at, (from.0 + along * x, from.1 + along * y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn states_and_numbers_look_different_in_each_size() {
        for size in [22, 44] {
            let mut seen = BTreeSet::new();
            for state in [State::Running, State::Paused, State::Away] {
                for waiting in 0..=10 {
                    let drawn = draw(state, waiting, size);
                    assert_eq!(drawn.rgba.len(), (size * size * 4) as usize);
                    assert!(seen.insert(drawn.rgba), "{state:?} {waiting}");
                }
            }
        }
        assert_eq!(
            draw(State::Away, 10, 22).rgba,
            draw(State::Away, 99, 22).rgba
        );
    }

    #[test]
    fn colours_are_multiplied_by_opacity_and_clear_is_black() {
        let pixels = Pixels {
            size: 2,
            rgba: [
                [200, 100, 1, 255],
                [200, 100, 1, 0],
                [255, 128, 2, 128],
                [9, 9, 9, 9],
            ]
            .concat(),
        };
        let expected = [[200, 100, 1, 255], [0; 4], [128, 64, 1, 128], [0, 0, 0, 9]].concat();
        assert_eq!(pixels.premultiplied(), expected);
    }

    #[test]
    fn corners_are_clear_and_the_number_is_white_on_red() {
        let drawn = draw(State::Running, 1, 44);
        let at = |x: usize, y: usize| drawn.rgba.chunks(4).nth(y * 44 + x).map(<[u8]>::to_vec);
        assert_eq!(at(0, 0), Some(vec![0; 4]));
        assert_eq!(at(30, 30), Some(vec![255; 4]));
        assert_eq!(at(20, 30), Some([&RED[..], &[255]].concat()));
        assert_eq!(at(10, 22), Some([&TEAL[..], &[255]].concat()));
    }
}
