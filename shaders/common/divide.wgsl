// Drivers on CPUs divide integers one lane at a time, which costs more than all else in a small kernel; floats go
// side by side. One correction by the remainder, then one by at most 1, make the quotient exact for a below 2^31.
fn quotient(a: u32, b: u32) -> u32 {
  let divisor = f32(b);
  let guess = i32(f32(i32(a)) / divisor);
  let better = guess + i32(f32(i32(a) - guess * i32(b)) / divisor);
  let rest = i32(a) - better * i32(b);
  return u32(better + select(0, 1, rest >= i32(b)) - select(0, 1, rest < 0));
}
