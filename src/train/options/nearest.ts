/** Number of single-letter edits (insert, delete, replace, swap of neighbours) between two words. */
const editDistance = (a: string, b: string): number => {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, rows[i - 2]![j - 2]! + 1);
      row.push(best);
    }
    rows.push(row);
  }
  return rows[a.length]![b.length]!;
};

/** Share of a word that may differ before a suggestion would only puzzle. */
const FARTHEST = 0.6;

/** How near a word counts that is the beginning of a name, or the other way round. */
const PREFIX_SHARE = 0.3;

/** The known name nearest to a mistyped one, or '' when none comes close. A name that begins alike counts as near. */
export const nearest = (word: string, known: readonly string[]): string => {
  const plain = word.toLowerCase();
  const scored = known.map((name) => {
    const prefix = plain.length >= 2 && (name.startsWith(plain) || plain.startsWith(name));
    const distance = editDistance(plain, name.toLowerCase());
    const share = distance / Math.max(plain.length, name.length);
    return { name, score: prefix ? Math.min(share, PREFIX_SHARE) : share };
  });
  const best = scored.sort((a, b) => a.score - b.score || (a.name < b.name ? -1 : 1))[0];
  return best && best.score <= FARTHEST ? best.name : '';
};

/** What to tell who asked for a name that nothing has: the one that was probably meant, or all. */
export const nearestOrAll = (name: string, known: readonly string[]): string => {
  const near = nearest(name, known);
  return near ? `Did you mean ${near}?` : `Known: ${known.join(', ')}.`;
};
