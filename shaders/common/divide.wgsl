// Drivers on CPUs divide integers one lane at a time, and turn floats into integers likewise, which costs more than all else in a small
// kernel; other arithmetic goes side by side.

// The integer next to x, which must be smaller than 2^22: added to 1.5 * 2^23, it is the last bits of the sum.
fn nearest(x: f32) -> i32 {
  return bitcast<i32>(x + 12582912.0) - 0x4b400000;
}

// a / b for a below 2^31. In steps of 512 the quotient is a number that `nearest` can find, and so is what is missing; that is by at most 1
// too large or too small, however floats are rounded.
fn quotient(a: u32, b: u32) -> u32 {
  let inverse = 1.0 / f32(i32(b));
  let coarse = 512 * nearest(f32(i32(a)) * inverse / 512.0);
  let guess = coarse + nearest(f32(i32(a) - coarse * i32(b)) * inverse);
  let rest = i32(a) - guess * i32(b);
  return u32(guess + select(0, 1, rest >= i32(b)) - select(0, 1, rest < 0));
}

// The row and the column of an entry, where rows have `pitch` of them.
struct Cell {
  row: u32,
  column: u32,
}
fn cellOf(i: u32, pitch: u32) -> Cell {
  let row = quotient(i, pitch);
  return Cell(row, i - row * pitch);
}
// The place as far behind another one as `step` is behind the first of all: a loop needs no division.
fn moved(start: Cell, step: Cell, pitch: u32) -> Cell {
  let column = start.column + step.column;
  let wraps = column >= pitch;
  return Cell(start.row + step.row + select(0u, 1u, wraps), column - select(0u, pitch, wraps));
}
