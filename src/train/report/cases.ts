/** Test images with all that the network made of them: one card an image. */
import type { Box } from '../../data/types.js';
import { escapeHtml, percent } from './html.js';
import { attentionGrid, cropPicture, heatmapOverlay, pngDataUri } from './pictures.js';
import type { Guess, ImageCase, Picture } from './types.js';

const image = async (picture: Picture, alt: string): Promise<string> =>
  `<img src="${await pngDataUri(picture)}" width="${picture.width}" height="${picture.height}" alt="${escapeHtml(alt)}">`;

const figure = (content: string, caption: string, kind = 'shot'): string =>
  `<figure><div class="${kind}">${content}</div><figcaption>${caption}</figcaption></figure>`;

const rectangle = ({ x0, y0, x1, y1 }: Box, kind: string): string => {
  const place = `x="${x0.toFixed(1)}" y="${y0.toFixed(1)}" width="${(x1 - x0).toFixed(1)}" height="${(y1 - y0).toFixed(1)}"`;
  return `<rect class="box edge" ${place}/><rect class="box ${kind}" ${place}/>`;
};

/** Lines over the picture rather than in it, so that they stay sharp at any size. */
const drawing = ({ image: { width, height }, trueBox, cropBox }: ImageCase): string =>
  `<svg viewBox="0 0 ${width} ${height}" preserveAspectRatio="none">${trueBox ? rectangle(trueBox, 'true') : ''}${rectangle(cropBox, 'looked')}</svg>`;

const guessLine = ({ label, probability }: Guess, trueLabel: string, colour: string): string => {
  const right = label === trueLabel;
  const share = Math.max(0, Math.min(100, 100 * probability));
  return `<div class="guess"><span class="${right ? 'good' : ''}">${right ? '✓' : ''}</span><span title="${escapeHtml(label)}">${escapeHtml(label)}</span>` +
    `<span class="bar"><i style="width:${share.toFixed(1)}%;background:var(--${colour})"></i></span><span>${percent(100 * probability)}</span></div>`;
};

const guessList = (title: string, guesses: readonly Guess[], trueLabel: string, colour: string): string =>
  `<div><h4>${title}</h4>${guesses.map((guess) => guessLine(guess, trueLabel, colour)).join('')}</div>`;

const isRight = (guesses: readonly Guess[], trueLabel: string): boolean => guesses[0]?.label === trueLabel;

const mark = (right: boolean, what: string): string => `<span class="${right ? 'good' : 'bad'}">${right ? '✓' : '✗'} ${what}</span>`;

const shots = async (example: ImageCase): Promise<string> => {
  const { image: picture, meanMap, maps, cropBox, dropped, iou } = example;
  const figures = [
    figure(await image(picture, 'test image') + drawing(example), iou === undefined ? 'where it looked' : `where it looked, IoU ${iou.toFixed(2)}`),
    figure(await image(heatmapOverlay(picture, meanMap), 'heat map'), 'mean attention'),
    figure(await image(cropPicture(picture, cropBox), 'crop'), 'looked at again'),
  ];
  if (dropped) figures.push(figure(await image(dropped, 'dropped region'), 'attention dropped'));
  if (maps.length > 0) figures.push(figure(await image(attentionGrid(picture, maps), 'attention maps'), `${maps.length} attention maps, one scale`, 'grid shot'));
  return `<div class="shots">${figures.join('')}</div>`;
};

const card = async (example: ImageCase): Promise<string> => {
  const { trueLabel, name, rawTop, refinedTop } = example;
  const verdict = `${mark(isRight(rawTop, trueLabel), 'raw')} &nbsp; ${mark(isRight(refinedTop, trueLabel), 'refined')}`;
  return `<article class="case"><header><strong>${escapeHtml(trueLabel)}</strong>${name ? `<span class="soft">${escapeHtml(name)}</span>` : ''}<span class="verdict">${verdict}</span></header>` +
    `${await shots(example)}<div class="guesses">${guessList('Raw: the whole picture', rawTop, trueLabel, 'raw')}${guessList('Refined: after looking again', refinedTop, trueLabel, 'refined')}</div></article>`;
};

const legend = (cases: readonly ImageCase[]): string => {
  const line = (kind: string, text: string) => `<span><svg width="26" height="12"><line x1="1" y1="6" x2="25" y2="6" class="${kind}"/></svg>${text}</span>`;
  const known = cases.some(({ trueBox }) => trueBox) ? `<span><svg width="26" height="12"><line x1="1" y1="6" x2="25" y2="6" stroke="currentColor" stroke-width="2" stroke-dasharray="6 4"/></svg>true box</span>` : '';
  return `<div class="legend">${line('looked', 'box the attention gives')}${known}</div>`;
};

/** The section of test images, or '' without any. */
export const caseSection = async (cases: readonly ImageCase[]): Promise<string> => {
  if (cases.length === 0) return '';
  const cards: string[] = [];
  for (const example of cases) cards.push(await card(example));
  return `<h2>Where it looks</h2>${legend(cases)}${cards.join('\n')}`;
};
