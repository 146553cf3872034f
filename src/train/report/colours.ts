/** The colours of heat maps, made in OKLab so that equal steps of attention look like equal steps of colour. */

type Rgb = readonly [number, number, number];

/** Lightness, chroma and hue (degrees) at equal distances: dark violet over red and orange to pale yellow. */
const STOPS: readonly Rgb[] = [
  [0.16, 0.06, 285],
  [0.31, 0.16, 300],
  [0.46, 0.2, 345],
  [0.62, 0.2, 28],
  [0.79, 0.16, 68],
  [0.96, 0.1, 105],
];

const STEPS = 256;

const toSrgb = (linear: number): number => {
  const clipped = Math.min(1, Math.max(0, linear));
  return 255 * (clipped <= 0.0031308 ? 12.92 * clipped : 1.055 * clipped ** (1 / 2.4) - 0.055);
};

/** Source: Ottosson's OKLab, inverse transform. */
const oklchToRgb = (lightness: number, chroma: number, hueDegrees: number): Rgb => {
  const hue = (hueDegrees * Math.PI) / 180;
  const a = chroma * Math.cos(hue);
  const b = chroma * Math.sin(hue);
  const long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const short = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    toSrgb(4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short),
    toSrgb(-1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short),
    toSrgb(-0.0041960863 * long - 0.7034186147 * middle + 1.707614701 * short),
  ];
};

/** Hue runs upwards through 360 so that the path from violet to red does not pass green. */
const unwrapped = STOPS.map(([l, c, h]): Rgb => [l, c, h < 180 ? h + 360 : h]);

const HEAT: readonly Rgb[] = Array.from({ length: STEPS }, (_, i) => {
  const place = (i / (STEPS - 1)) * (STOPS.length - 1);
  const from = unwrapped[Math.min(Math.floor(place), STOPS.length - 2)]!;
  const to = unwrapped[Math.min(Math.floor(place), STOPS.length - 2) + 1]!;
  const share = place - Math.min(Math.floor(place), STOPS.length - 2);
  const mix = (k: 0 | 1 | 2) => from[k] + share * (to[k] - from[k]);
  return oklchToRgb(mix(0), mix(1), mix(2));
});

/** The colour of an attention between 0 and 1, as red, green, blue from 0 to 255. Lightness rises throughout. */
export const heatColour = (attention: number): Rgb => HEAT[Math.round(Math.min(1, Math.max(0, attention)) * (STEPS - 1))]!;
