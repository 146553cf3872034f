// Counter-based random numbers: the value depends on (key, counter) alone, so neither the number
// of workgroups nor their order matters. The mixer is the 32-bit finaliser of MurmurHash3, twice.
fn mix32(value: u32) -> u32 {
  var x = value;
  x ^= x >> 16u;
  x *= 0x85ebca6bu;
  x ^= x >> 13u;
  x *= 0xc2b2ae35u;
  x ^= x >> 16u;
  return x;
}
fn randomBits(key: u32, counter: u32) -> u32 {
  return mix32(mix32(counter ^ key) + (counter + 1u) * 0x9e3779b9u + key);
}
// Uniform in [0, 1) with 24 bits, so that 1 is never reached.
fn randomUniform(key: u32, counter: u32) -> f32 {
  return f32(randomBits(key, counter) >> 8u) * 5.9604644775390625e-8;
}
