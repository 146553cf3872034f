// F(RESULT, TAPS) along one axis: RESULT results of TAPS taps from EDGE = RESULT + TAPS - 1 pixels and as many products, by
// interpolation (Toom and Cook; Lavin and Gray, arXiv 1509.09308). The points are 0, infinity and PAIRS pairs p and -p, which share their
// sums: those over even powers are the same for both, those over odd powers differ in sign. F(2, 3) and F(4, 3) are those of
// the paper; among the points tried, 1/2 and 5/4 keep the errors of longer taps smallest.
const PAIRS = u32($PAIRS);
const POINTS = array<f32, 4>(1.0, 2.0, 0.5, 1.25);
const SQUARES = array<f32, 4>(1.0, 4.0, 0.25, 1.5625);

// Polynomials of s = x^2, lowest power first.
alias Coefficients = array<f32, PAIRS>;

// c times (s - a). What outgrows the array is the caller's to know.
fn times(c: Coefficients, a: f32) -> Coefficients {
  var r: Coefficients;
  r[0] = -a * c[0];
  //# for k in 1..$PAIRS
  r[$k] = c[$k - 1] - a * c[$k];
  //# end
  return r;
}

// The product of (s - p^2) over all pairs but the i-th.
fn others(i: u32) -> Coefficients {
  var c: Coefficients;
  c[0] = 1.0;
  //# for j in 0..$PAIRS
  if (i != $j) { c = times(c, SQUARES[$j]); }
  //# end
  return c;
}

// That over all pairs, but for its highest power.
fn allPairs() -> Coefficients { return times(others(0), SQUARES[0]); }

fn valueAt(c: Coefficients, s: f32) -> f32 {
  var sum = 0.0;
  var power = 1.0;
  //# for k in 0..$PAIRS
  sum += c[$k] * power;
  power *= s;
  //# end
  return sum;
}

// The i-th pair's share in the weights: one over the derivative of x times the product over all pairs there.
fn share(i: u32) -> f32 { return 1.0 / (2.0 * SQUARES[i] * valueAt(others(i), SQUARES[i])); }

// Sum of c[k] * d[first + 2k].
fn everySecond(c: Coefficients, d: array<vec4f, EDGE>, first: u32) -> vec4f {
  var sum = c[0] * d[first];
  //# for k in 1..$PAIRS
  sum += c[$k] * d[first + 2 * $k];
  //# end
  return sum;
}

fn inputLine(d: array<vec4f, EDGE>) -> array<vec4f, EDGE> {
  var v: array<vec4f, EDGE>;
  v[0] = everySecond(allPairs(), d, 0) + d[EDGE - 2];
  //# for i in 0..$PAIRS
  let even$i = everySecond(others($i), d, 2);
  let odd$i = POINTS[$i] * everySecond(others($i), d, 1);
  v[2 * $i + 1] = even$i + odd$i;
  v[2 * $i + 2] = even$i - odd$i;
  //# end
  v[EDGE - 1] = everySecond(allPairs(), d, 1) + d[EDGE - 1];
  return v;
}

// The i-th point to the power of k.
fn power(i: u32, k: u32) -> f32 {
  var p = 1.0;
  //# for j in 0..$TAPS
  if ($j < k) { p *= POINTS[i]; }
  //# end
  return p;
}

fn weightLine(g: array<vec4f, $TAPS>) -> array<vec4f, EDGE> {
  var u: array<vec4f, EDGE>;
  u[0] = g[0] / allPairs()[0];
  //# for i in 0..$PAIRS
  var parts$i: array<vec4f, 2>;
  //# for k in 0..$TAPS
  parts$i[$k % 2] += power($i, $k) * g[$k];
  //# end
  u[2 * $i + 1] = share($i) * (parts$i[0] + parts$i[1]);
  u[2 * $i + 2] = share($i) * (parts$i[0] - parts$i[1]);
  //# end
  u[EDGE - 1] = g[$TAPS - 1];
  return u;
}

fn outputLine(m: array<vec4f, EDGE>) -> array<vec4f, RESULT> {
  var r: array<vec4f, RESULT>;
  r[0] = m[0];
  r[RESULT - 1] = m[EDGE - 1];
  //# for i in 0..$PAIRS
  let parts$i = array<vec4f, 2>(m[2 * $i + 1] + m[2 * $i + 2], m[2 * $i + 1] - m[2 * $i + 2]);
  //# for k in 0..$RESULT
  r[$k] += power($i, $k) * parts$i[$k % 2];
  //# end
  //# end
  return r;
}

// The transpose of outputLine.
fn gradientLine(g: array<vec4f, RESULT>) -> array<vec4f, EDGE> {
  var v: array<vec4f, EDGE>;
  v[0] = g[0];
  //# for i in 0..$PAIRS
  var parts$i: array<vec4f, 2>;
  //# for k in 0..$RESULT
  parts$i[$k % 2] += power($i, $k) * g[$k];
  //# end
  v[2 * $i + 1] = parts$i[0] + parts$i[1];
  v[2 * $i + 2] = parts$i[0] - parts$i[1];
  //# end
  v[EDGE - 1] = g[RESULT - 1];
  return v;
}

// The transpose of weightLine.
fn collectLine(m: array<vec4f, EDGE>) -> array<vec4f, $TAPS> {
  var g: array<vec4f, $TAPS>;
  g[0] = m[0] / allPairs()[0];
  g[$TAPS - 1] = m[EDGE - 1];
  //# for i in 0..$PAIRS
  let parts$i = array<vec4f, 2>(share($i) * (m[2 * $i + 1] + m[2 * $i + 2]), share($i) * (m[2 * $i + 1] - m[2 * $i + 2]));
  //# for k in 0..$TAPS
  g[$k] += power($i, $k) * parts$i[$k % 2];
  //# end
  //# end
  return g;
}
