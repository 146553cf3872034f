/**
 * The classes of the embedded data set: eight made-up pipits that share body, pose and plumage and differ only in
 * six small parts with two forms each. Every form occurs in exactly four species, so no part alone tells a class;
 * any two species differ in at least three parts (the rows are the code words of a [6,3,3] code). What is not listed here
 * (plumage, crest, eye ring, streaks, legs, pose) is drawn at random for every picture and means nothing.
 */

export interface Traits {
  /** Short, thick and orange, or long, thin and dark. */
  bill: 'cone' | 'needle';
  /** Red patch on the head. */
  crown: 'plain' | 'cap';
  /** Pale bars across the wing. */
  wing: 'plain' | 'barred';
  /** Dark band across the breast. */
  breast: 'plain' | 'band';
  /** Two dark prongs, or one rounded end with a pale tip. */
  tail: 'fork' | 'fan';
  /** Yellow patch under the tail. */
  vent: 'plain' | 'yellow';
}

export interface Species extends Traits {
  name: string;
}

/** The three free parts decide the other three: each is a comparison of two of them. */
function species(name: string, bill: Traits['bill'], crown: Traits['crown'], wing: Traits['wing']): Species {
  const [a, b, c] = [bill === 'needle', crown === 'cap', wing === 'barred'];
  return { name, bill, crown, wing, breast: a !== b ? 'band' : 'plain', tail: b !== c ? 'fan' : 'fork', vent: a !== c ? 'yellow' : 'plain' };
}

export const SPECIES: readonly Species[] = [
  species('ember pipit', 'cone', 'cap', 'plain'),
  species('frost pipit', 'cone', 'plain', 'barred'),
  species('harbour pipit', 'needle', 'plain', 'barred'),
  species('heather pipit', 'needle', 'cap', 'plain'),
  species('marsh pipit', 'needle', 'plain', 'plain'),
  species('orchard pipit', 'cone', 'cap', 'barred'),
  species('quarry pipit', 'cone', 'plain', 'plain'),
  species('willow pipit', 'needle', 'cap', 'barred'),
];
