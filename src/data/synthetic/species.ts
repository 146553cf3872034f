/**
 * The classes of the embedded data set: eight made-up pipits that share body, pose and plumage and differ only in
 * five small parts with two forms each. Every form occurs in exactly four species, so no part alone tells a class,
 * and any two species differ in at least two parts. What is not listed here (plumage, crest, eye ring, streaks,
 * vent, legs, pose) is drawn at random for every picture and means nothing.
 */

export interface Traits {
  /** Short, thick and orange, or long, thin and dark. */
  bill: 'cone' | 'needle';
  /** Colour of the cap. */
  crown: 'crimson' | 'azure';
  /** Pale bars across the wing, or none. */
  wing: 'plain' | 'barred';
  /** Dark band across the breast, or none. */
  breast: 'plain' | 'band';
  /** Two yellow prongs, or one rounded end with a pale tip. */
  tail: 'fork' | 'fan';
}

interface Species extends Traits {
  name: string;
}

/** Crown, tail and bill are free; wing and breast follow from them. */
function species(name: string, crown: Traits['crown'], tail: Traits['tail'], bill: Traits['bill']): Species {
  const [a, b, c] = [crown === 'azure', tail === 'fan', bill === 'needle'];
  return { name, crown, tail, bill, breast: a !== b ? 'band' : 'plain', wing: (a !== b) !== c ? 'barred' : 'plain' };
}

export const SPECIES: readonly Species[] = [
  species('ember pipit', 'crimson', 'fork', 'cone'),
  species('frost pipit', 'azure', 'fan', 'needle'),
  species('harbour pipit', 'azure', 'fork', 'cone'),
  species('heather pipit', 'crimson', 'fan', 'needle'),
  species('marsh pipit', 'azure', 'fork', 'needle'),
  species('orchard pipit', 'crimson', 'fan', 'cone'),
  species('quarry pipit', 'crimson', 'fork', 'needle'),
  species('willow pipit', 'azure', 'fan', 'cone'),
];
