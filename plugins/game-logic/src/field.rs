//! The field: where things are and how they move. No room, no players: rules one can test by arithmetic.

use serde::{Deserialize, Serialize};

/// The field is a square with coordinates 0 to `SIZE - 1`.
pub const SIZE: i16 = 1000;

/// How far a player moves along an axis in a tick: 200 a second at 20 Hz, five seconds across the field.
pub const SPEED: i16 = 10;

/// How far along each axis a coin can be and still be picked up. More than `SPEED`, so nobody steps over one.
pub const REACH: i16 = 25;

/// Coins on the field. One that is taken turns up elsewhere in the same tick.
pub const COINS: usize = 20;

/// How many places there are.
pub const PLACES: u64 = SIZE as u64 * SIZE as u64;

/// A place on the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// 0 at the left, `SIZE - 1` at the right.
    pub x: i16,
    /// 0 at the top, `SIZE - 1` at the bottom.
    pub y: i16,
}

impl Point {
    /// The place with this number, counted row by row. Numbers beyond [`PLACES`] begin again.
    pub fn numbered(place: u64) -> Self {
        let size = u64::from(SIZE.unsigned_abs());
        let coordinate = |value: u64| i16::try_from(value % size).unwrap_or(0);
        Self { x: coordinate(place), y: coordinate(place / size) }
    }

    /// One tick further along a heading; the field's edge holds.
    pub fn step(self, heading: Heading) -> Self {
        let along = |from: i16, sign: i8| (from + SPEED * i16::from(sign)).clamp(0, SIZE - 1);
        Self { x: along(self.x, heading.dx), y: along(self.y, heading.dy) }
    }

    /// Whether a player here picks up that coin.
    pub fn reaches(self, coin: Point) -> bool {
        self.x.abs_diff(coin.x) <= REACH.unsigned_abs() && self.y.abs_diff(coin.y) <= REACH.unsigned_abs()
    }
}

/// Where a player is going; each axis -1, 0 or 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Heading {
    dx: i8,
    dy: i8,
}

impl Heading {
    /// A heading, or none if an axis is not -1, 0 or 1.
    pub fn new(dx: i8, dy: i8) -> Option<Self> {
        let fits = |sign: i8| (-1..=1).contains(&sign);
        (fits(dx) && fits(dy)).then_some(Self { dx, dy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_a_place_on_the_field() {
        assert_eq!(Point::numbered(0), Point { x: 0, y: 0 });
        assert_eq!(Point::numbered(1_001), Point { x: 1, y: 1 });
        assert_eq!(Point::numbered(PLACES - 1), Point { x: 999, y: 999 });
        assert_eq!(Point::numbered(PLACES), Point { x: 0, y: 0 });
    }

    #[test]
    fn the_edge_holds() {
        let heading = Heading::new(1, -1).expect("is a heading");
        assert_eq!(Point { x: 500, y: 500 }.step(heading), Point { x: 510, y: 490 });
        assert_eq!(Point { x: 995, y: 5 }.step(heading), Point { x: 999, y: 0 });
        assert_eq!(Heading::new(2, 0), None);
        assert_eq!(Heading::new(0, i8::MIN), None);
    }

    #[test]
    fn reach_is_the_same_on_both_axes() {
        let here = Point { x: 100, y: 100 };
        assert!(here.reaches(Point { x: 125, y: 75 }));
        assert!(!here.reaches(Point { x: 126, y: 100 }));
        assert!(!here.reaches(Point { x: 100, y: 74 }));
    }
}
