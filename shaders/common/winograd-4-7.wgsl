// F(4, 7): 4 results of 7 taps from 10 pixels, by interpolation at 0, +-1, +-2, +-1/2, +-3/4 and infinity (the construction of Toom and
// Cook; among the points tried, these keep errors smallest). The points p and -p share their sums: those over even powers
// are the same for both, those over odd powers differ in sign.
const POINTS = array<f32, 4>(1.0, 2.0, 0.5, 0.75);
const SQUARES = array<f32, 4>(1.0, 4.0, 0.25, 0.5625);

// Coefficients of (s - a)(s - b)(s - c) for the squares a, b, c of the points other than the i-th.
fn others(i: u32) -> vec4f {
  let a = SQUARES[(i + 1u) % 4u];
  let b = SQUARES[(i + 2u) % 4u];
  let c = SQUARES[(i + 3u) % 4u];
  return vec4f(-a * b * c, a * b + b * c + c * a, -(a + b + c), 1.0);
}

// The i-th point's share in the weights: one over the derivative of x (x^2 - 1)(x^2 - 4)(x^2 - 1/4)(x^2 - 9/16) there.
fn share(i: u32) -> f32 {
  let s = SQUARES[i];
  return 1.0 / (2.0 * s * dot(others(i), vec4f(1.0, s, s * s, s * s * s)));
}

fn inputLine(d: array<f32, 10>) -> array<f32, 10> {
  var v: array<f32, 10>;
  v[0] = 0.5625 * d[0] - 3.953125 * d[2] + 8.203125 * d[4] - 5.8125 * d[6] + d[8];
  //# for i in 0..4
  let even$i = dot(others($i), vec4f(d[2], d[4], d[6], d[8]));
  let odd$i = POINTS[$i] * dot(others($i), vec4f(d[1], d[3], d[5], d[7]));
  v[2 * $i + 1] = even$i + odd$i;
  v[2 * $i + 2] = even$i - odd$i;
  //# end
  v[9] = 0.5625 * d[1] - 3.953125 * d[3] + 8.203125 * d[5] - 5.8125 * d[7] + d[9];
  return v;
}

fn weightLine(g: array<f32, 7>) -> array<f32, 10> {
  var u: array<f32, 10>;
  u[0] = g[0] / 0.5625;
  //# for i in 0..4
  let s$i = SQUARES[$i];
  let even$i = share($i) * (g[0] + s$i * (g[2] + s$i * (g[4] + s$i * g[6])));
  let odd$i = share($i) * POINTS[$i] * (g[1] + s$i * (g[3] + s$i * g[5]));
  u[2 * $i + 1] = even$i + odd$i;
  u[2 * $i + 2] = even$i - odd$i;
  //# end
  u[9] = g[6];
  return u;
}

fn outputLine(m: array<f32, 10>) -> array<f32, 4> {
  var y = array<f32, 4>(m[0], 0.0, 0.0, m[9]);
  //# for i in 0..4
  let even$i = m[2 * $i + 1] + m[2 * $i + 2];
  let odd$i = POINTS[$i] * (m[2 * $i + 1] - m[2 * $i + 2]);
  y[0] += even$i;
  y[1] += odd$i;
  y[2] += SQUARES[$i] * even$i;
  y[3] += SQUARES[$i] * odd$i;
  //# end
  return y;
}

fn gradientLine(g: array<f32, 4>) -> array<f32, 10> {
  var v: array<f32, 10>;
  v[0] = g[0];
  //# for i in 0..4
  let even$i = g[0] + SQUARES[$i] * g[2];
  let odd$i = POINTS[$i] * (g[1] + SQUARES[$i] * g[3]);
  v[2 * $i + 1] = even$i + odd$i;
  v[2 * $i + 2] = even$i - odd$i;
  //# end
  v[9] = g[3];
  return v;
}

fn collectLine(m: array<f32, 10>) -> array<f32, 7> {
  var g = array<f32, 7>(m[0] / 0.5625, 0.0, 0.0, 0.0, 0.0, 0.0, m[9]);
  //# for i in 0..4
  let s$i = SQUARES[$i];
  let even$i = share($i) * (m[2 * $i + 1] + m[2 * $i + 2]);
  let odd$i = share($i) * POINTS[$i] * (m[2 * $i + 1] - m[2 * $i + 2]);
  g[0] += even$i;
  g[1] += odd$i;
  g[2] += s$i * even$i;
  g[3] += s$i * odd$i;
  g[4] += s$i * s$i * even$i;
  g[5] += s$i * s$i * odd$i;
  g[6] += s$i * s$i * s$i * even$i;
  //# end
  return g;
}
